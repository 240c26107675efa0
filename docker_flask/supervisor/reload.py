"""The reload: a new generation replaces the current one, which serves meanwhile."""

from docker_flask.shared.log import log
from docker_flask.shared.no_room import in_words
from docker_flask.shared.setting_error import SettingError
from docker_flask.supervisor.service import Service
from docker_flask.supervisor.task import Steps, Until


class Refused(Exception):
    """Why the new generation can't serve."""


def reload(service: Service) -> Steps[str]:
    """Returns the problem; empty if the new generation serves.

    Each error ends the reload, is logged, and leaves what serves as it is. A stop ends the reload
    at any `yield`.
    """
    problem, nginx, before = "", service.nginx, service.current
    log("reload: loading a new generation, the current generation keeps serving")
    try:
        # All decisions again, by the settings and the files as they are now.
        plan = yield from service.make_plan()
        workers, seconds = plan.workers, plan.settings.start_timeout
        if no_room := service.memory.why_no_room(workers.count, workers.memory):
            raise Refused(
                f"the new generation does not fit beside the old one: {no_room}; raise the limit "
                "(docker run -m), set a smaller WEB_CONCURRENCY or PRELOAD=1, or restart the "
                "container"
            )

        # Load beside the current generation: all workers, one after another. The wide server comes
        # when the others have their memory, and only if requests wait at this moment.
        fresh = service.load(plan)
        yield from service.note_unreadable_files()
        yield Until(lambda: fresh.settled(all_workers=True), seconds)
        if fresh.ready() and service.current and service.current.wide.server:
            fresh.wide.start(fresh.plan.workers)
            yield Until(lambda: fresh.settled(all_workers=True), seconds)
        if not fresh.ready():
            raise Refused(fresh.why_not_ready())

        # nginx tests its next configuration before anything changes.
        service.certificates.refresh(nginx.certificate)
        configuration = yield from service.configure_nginx(fresh.plan, fresh)

        # The change: from here on, requests go to the new generation, and the old one retires. If
        # nginx then refuses its configuration, it keeps the previous one.
        service.switch_to(fresh)
        service.start_log.serves(fresh, configuration.notes)
        yield from nginx.reload(fresh.plan, configuration)
    except (Refused, SettingError, OSError) as error:  # OSError: a full disk, for example
        problem = in_words(error)
    except Exception as error:
        service.loop.report(error)
        problem = f"internal error: {error!r}"
    finally:
        service.give_up_candidate()
    if problem:
        kept = "reload failed, keeping the previous generation"
        if service.current is not before:
            kept = "the new generation serves, but nginx keeps its previous configuration"
        problem = f"{kept}: {problem}"
        service.start_log.fails()
        log(problem)
    return problem
