/* A loop engine for uWSGI. Its workers start with one thread; docker_flask/worker/threads.py decides
   how many threads take requests. uWSGI's own engine always runs all threads, and gives each request
   to another thread, which makes a small response a fifth more expensive.
   https://uwsgi-docs.readthedocs.io/en/latest/Plugins.html */
#include <sched.h>
#include <sys/epoll.h>
#include <uwsgi.h>

extern struct uwsgi_server uwsgi;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Of this worker: threads that exist, threads that may take requests; over: the worker stops. */
static int started = 1, wanted = 1, over;

static int serves(void)
{
    return uwsgi.workers[uwsgi.mywid].manage_next_request;
}

/* Yield the CPU until nginx has sent the request, which it does immediately: to sleep and wake costs
   more. False if nginx has closed the connection because its client has left: under too much load, a
   worker would process only requests whose clients have left. */
static int await(int connection)
{
    struct pollfd peer = {.fd = connection, .events = POLLIN};

    for (int tries = 0; tries < 8 && !poll(&peer, 1, 0); tries++)
        sched_yield();
    return !(peer.revents & POLLHUP);
}

/* Wait until this thread may take requests; false if the worker stops. */
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

        /* A connection wakes only one of these threads of all workers. */
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

/* Let this number of threads take requests, at most uWSGI's option `threads`, and as many as the
   kernel allows; returns the number of threads that take requests. */
int docker_flask_threads(int number)
{
    struct uwsgi_core *cores = uwsgi.workers[uwsgi.mywid].cores;

    pthread_mutex_lock(&lock);
    while (!over && started < number && started < uwsgi.threads) {
        long core = started;
        pthread_t thread;

        if (pthread_create(&thread, &uwsgi.threads_attr, run, (void *) core))
            break;
        cores[started++].thread_id = thread;
    }
    wanted = number < 1 ? 1 : number < started ? number : started;
    number = wanted;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return number;
}

static void loop(void)
{
    /* At the end, uWSGI waits for all threads except the one that waits. */
    for (int core = 0; core < uwsgi.threads; core++)
        uwsgi.workers[uwsgi.mywid].cores[core].thread_id = pthread_self();
    /* Threads wait without a common lock: each has its own epoll. */
    uwsgi.is_et = 1;
    run(0);
    pthread_mutex_lock(&lock);
    over = 1;
    uwsgi.workers[uwsgi.mywid].manage_next_request = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    /* Wake threads that wait for a connection. uWSGI does this at a stop and a reload, but not when it
       removes a worker: the worker would stay until it is killed, perhaps with a request. */
    if (uwsgi.loop_stop_pipe[1] > 0) {
        int pipe = uwsgi.loop_stop_pipe[1];

        uwsgi.loop_stop_pipe[1] = 0;
        close(pipe);
    }
    if (uwsgi.workers[uwsgi.mywid].shutdown_sockets)
        uwsgi_shutdown_all_sockets();
}

static void register_loop(void)
{
    uwsgi_register_loop("threads", loop);
}

struct uwsgi_plugin threads_plugin = {.name = "threads", .on_load = register_loop};
