/*
 * Sends one HTTP request again and again over kept-alive connections and says how long the answers took. It costs the
 * machine less than any server that it measures, which a client in JavaScript would not.
 *
 *     load ADDRESS[,ADDRESS…] CONNECTIONS REQUESTS <REQUEST
 *
 * ADDRESS is the path of a unix socket, or a TCP port of 127.0.0.1; connections take them in turn. Each connection has one request at a time. A run of
 * '#' in the request becomes the request's number, so wide as the run. An answer must state its length and be a 2xx.
 * Requests on stdin that end with a NUL go out once to each address, before the measurement: a guest's claim.
 * Prints {"requests","seconds","p50us","p99us","maxus"}.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_SIZE = 65536, ANSWER_SIZE = 16777216, MAX_CONNECTIONS = 1024, MAX_ADDRESSES = 16 };

struct connection {
    int fd;
    char *answer;
    size_t room, have;
    double sent;
};

static char input[REQUEST_SIZE + 1], *request = input;
static size_t input_size, request_size, digits_at, digits;
static double *times;
static long started, finished, wanted;

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "not as expected");
    exit(1);
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void read_request(char *from, size_t size)
{
    request = from;
    request_size = size;
    char *mark = memchr(from, '#', size);
    digits_at = mark ? mark - from : 0;
    digits = mark ? strspn(mark, "#") : 0;
}

static int open_connection(const char *address)
{
    long port = strtol(address, NULL, 10);
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in network = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1;
    int fd = socket(port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    if (port) {
        if (connect(fd, (struct sockaddr *)&network, sizeof network) < 0) die(address);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return fd;
    }
    if (strlen(address) >= sizeof local.sun_path) die("path is too long");
    strcpy(local.sun_path, address);
    /* The server's queue of connections may be full for a moment: EAGAIN, connect(2). */
    while (connect(fd, (struct sockaddr *)&local, sizeof local) < 0) {
        if (errno != EAGAIN) die(address);
        usleep(1000);
    }
    return fd;
}

static void send_request(struct connection *on)
{
    on->have = 0;
    on->sent = now();
    if (write(on->fd, request, request_size) != (ssize_t)request_size) die("write");
}

static void ask(struct connection *on)
{
    char number[32];
    if (started == wanted) return;
    if (digits) {
        snprintf(number, sizeof number, "%0*ld", (int)digits, started);
        memcpy(request + digits_at, number, digits);
    }
    started++;
    send_request(on);
}

/* Bytes of the whole answer; 0 while its header is not there yet. */
static size_t answer_size(struct connection *on)
{
    on->answer[on->have] = 0;
    char *end = strstr(on->answer, "\r\n\r\n");
    if (!end) return 0;
    if (strncmp(on->answer, "HTTP/1.1 2", 10) != 0) {
        fprintf(stderr, "load: the answer was %.*s\n", (int)strcspn(on->answer, "\r"), on->answer);
        exit(1);
    }
    size_t head = end + 4 - on->answer;
    char *length = strcasestr(on->answer, "\r\ncontent-length:");
    if (length && length < end) return head + strtoul(length + 17, NULL, 10);
    if (strncmp(on->answer, "HTTP/1.1 204", 12) == 0) return head;
    errno = 0;
    die("an answer without a length");
    return 0;
}

/* Whether the answer is whole now. */
static int hear(struct connection *on)
{
    if (on->have + 1 >= on->room) {
        on->room *= 2;
        if (on->room > ANSWER_SIZE || !(on->answer = realloc(on->answer, on->room))) die("answer");
    }
    errno = 0;
    ssize_t got = read(on->fd, on->answer + on->have, on->room - on->have - 1);
    if (got <= 0) die("the connection ended");
    on->have += got;
    size_t size = answer_size(on);
    return size && on->have >= size;
}

/* What comes before the measurement; leaves the last request to be sent. */
static void prepare(struct connection *on)
{
    char *from = input, *end;
    while ((end = memchr(from, 0, input + input_size - from))) {
        read_request(from, end - from);
        send_request(on);
        while (!hear(on)) continue;
        from = end + 1;
    }
    read_request(from, input + input_size - from);
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    static struct connection all[MAX_CONNECTIONS];
    struct epoll_event events[64];
    if (argc != 4) return fprintf(stderr, "usage: load ADDRESS CONNECTIONS REQUESTS <REQUEST\n"), 2;
    char *addresses[MAX_ADDRESSES], *rest = argv[1];
    int count = atoi(argv[2]), places = 0;
    wanted = atol(argv[3]);
    if (count < 1 || count > MAX_CONNECTIONS || wanted < count) return fprintf(stderr, "load: bad numbers\n"), 2;
    while (places < MAX_ADDRESSES && (addresses[places] = strsep(&rest, ","))) places++;
    input_size = fread(input, 1, REQUEST_SIZE, stdin);
    times = calloc(wanted, sizeof *times);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (int at = 0; at < count; at++) {
        all[at] = (struct connection){.fd = open_connection(addresses[at % places]), .answer = malloc(65536), .room = 65536};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[at]};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, all[at].fd, &event) < 0) die("epoll_ctl");
    }
    for (int at = 0; at < places && at < count; at++) prepare(&all[at]);
    double begin = now();
    for (int at = 0; at < count; at++) ask(&all[at]);
    while (finished < wanted) {
        int ready = epoll_wait(poll, events, 64, -1);
        for (int at = 0; at < ready; at++) {
            struct connection *on = events[at].data.ptr;
            if (!hear(on)) continue;
            times[finished++] = now() - on->sent;
            ask(on);
        }
    }
    double seconds = now() - begin;
    qsort(times, wanted, sizeof *times, by_size);
    printf("{\"requests\":%ld,\"seconds\":%.6f,\"p50us\":%.1f,\"p99us\":%.1f,\"maxus\":%.1f}\n", wanted, seconds,
           times[wanted / 2] * 1e6, times[wanted * 99 / 100] * 1e6, times[wanted - 1] * 1e6);
    return 0;
}
