/* A loop engine of uWSGI's whose workers begin with one thread, and have as many take requests as
   docker_flask/threads.py wants at the moment. uWSGI's own engine has all that there may be, always,
   and hands each request to another one of them, which costs a small answer a fifth.
   https://uwsgi-docs.readthedocs.io/en/latest/Plugins.html */
#include <sched.h>
#include <sys/epoll.h>
#include <uwsgi.h>

extern struct uwsgi_server uwsgi;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Of this worker: threads that there are, and that take requests; and that it takes no more. */
static int begun = 1, wanted = 1, over;

static int serves(void)
{
    return uwsgi.workers[uwsgi.mywid].manage_next_request;
}

/* Let nginx send what it has connected for, instead of going to sleep for it: it does so at once, and
   to be woken costs more. False if nginx has closed the connection because its client waits no more:
   under too much load, a worker would answer only those who have given up. */
static int await(int connection)
{
    struct pollfd peer = {.fd = connection, .events = POLLIN};

    for (int tries = 0; tries < 8 && !poll(&peer, 1, 0); tries++)
        sched_yield();
    return !(peer.revents & POLLHUP);
}

/* Wait until this thread is wanted; false if that will not be any more. */
static int is_wanted(int core)
{
    pthread_mutex_lock(&lock);
    while (core >= wanted && !over && serves())
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return !over && serves();
}

static void *run(void *number)
{
    long core = (long) number;
    struct wsgi_request *request = &uwsgi.workers[uwsgi.mywid].cores[core].req;
    int queue = event_queue_init();

    uwsgi_setup_thread_req(core, request);
    for (struct uwsgi_socket *socket = uwsgi.sockets; socket; socket = socket->next) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = socket->fd};

        /* Of the further threads of all workers, a connection wakes one. */
        if (core)
            event.events |= EPOLLEXCLUSIVE;
        epoll_ctl(queue, EPOLL_CTL_ADD, socket->fd, &event);
    }
    event_queue_add_fd_read(queue, uwsgi.loop_stop_pipe[0]);
    if (uwsgi.signal_socket > -1) {
        event_queue_add_fd_read(queue, uwsgi.signal_socket);
        event_queue_add_fd_read(queue, uwsgi.my_signal_socket);
    }
    while (core < wanted ? serves() : is_wanted(core)) {
        wsgi_req_setup(request, core, NULL);
        if (wsgi_req_accept(queue, request))
            continue;
        if (!await(request->fd) || wsgi_req_recv(queue, request))
            uwsgi_destroy_request(request);
        else
            uwsgi_close_request(request);
    }
    return NULL;
}

/* Have so many threads take requests, as far as uWSGI was told that there may be and the kernel lets
   them be; returns how many do. */
int docker_flask_threads(int number)
{
    struct uwsgi_core *cores = uwsgi.workers[uwsgi.mywid].cores;

    pthread_mutex_lock(&lock);
    while (!over && begun < number && begun < uwsgi.threads) {
        long core = begun;
        pthread_t thread;

        if (pthread_create(&thread, &uwsgi.threads_attr, run, (void *) core))
            break;
        cores[begun++].thread_id = thread;
    }
    wanted = number < 1 ? 1 : number < begun ? number : begun;
    number = wanted;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return number;
}

static void loop(void)
{
    /* uWSGI waits for all threads at the end, but for the one that waits. */
    for (int core = 0; core < uwsgi.threads; core++)
        uwsgi.workers[uwsgi.mywid].cores[core].thread_id = pthread_self();
    /* No lock about the waiting: each thread does that by itself. */
    uwsgi.is_et = 1;
    run(0);
    pthread_mutex_lock(&lock);
    over = 1;
    uwsgi.workers[uwsgi.mywid].manage_next_request = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (uwsgi.workers[uwsgi.mywid].shutdown_sockets)
        uwsgi_shutdown_all_sockets();
}

static void register_loop(void)
{
    uwsgi_register_loop("threads", loop);
}

struct uwsgi_plugin threads_plugin = {.name = "threads", .on_load = register_loop};
