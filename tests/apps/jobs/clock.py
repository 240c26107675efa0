"""APScheduler in a container of its own."""

from apscheduler.schedulers.blocking import BlockingScheduler

scheduler = BlockingScheduler()


@scheduler.scheduled_job("interval", seconds=1)
def tick() -> None:
    print("tick", flush=True)


scheduler.start()
