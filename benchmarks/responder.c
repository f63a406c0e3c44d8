/* The limit: a FastCGI responder that does nothing.
 *
 *     responder kept|closed PROCESSES SOCKET
 *
 * kept:   epoll, connections stay open. Reads no parameter; it only follows the lengths in the
 *         record headers until the empty STDIN record, which ends a request.
 * closed: accept, one read, one write, close. Looks at nothing, so it serves only requests that
 *         arrive at once, as nginx sends those without a body.
 *
 * Both answer with the bytes of examples/hello.py for "/", as request 1, which is all that nginx uses.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HEADER = 8, STDIN_RECORD = 5, MOST_CONNECTIONS = 4096 };

/* Where a connection stands: header bytes seen, and bytes of content and padding still to come. */
struct state {
    unsigned char header[HEADER];
    int seen;
    int left;
};

static struct state states[MOST_CONNECTIONS];
static unsigned char answer[512];
static size_t answer_length;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void add_record(int type, const char *content, size_t length) {
    unsigned char *at = answer + answer_length;
    const unsigned char header[HEADER] = {1, type, 0, 1, length >> 8, length & 255, 0, 0};
    memcpy(at, header, HEADER);
    memcpy(at + HEADER, content, length);
    answer_length += HEADER + length;
}

static void make_answer(void) {
    static const char body[] = "Hello from pyfpm! You asked for /\n";
    char text[256];
    int length = snprintf(text, sizeof text,
                          "Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          strlen(body), body);
    add_record(6, text, length);
    add_record(6, "", 0);
    add_record(3, "\0\0\0\0\0\0\0\0", 8);
}

/* Follow the records in what was read; return how many requests ended in it. */
static int count_ends(struct state *state, const unsigned char *data, ssize_t length) {
    int ends = 0;
    while (length > 0) {
        if (state->left > 0) {
            ssize_t part = state->left < length ? state->left : length;
            state->left -= part;
            data += part;
            length -= part;
            continue;
        }
        state->header[state->seen++] = *data++;
        length--;
        if (state->seen == HEADER) {
            int content = state->header[4] << 8 | state->header[5];
            state->seen = 0;
            state->left = content + state->header[6];
            ends += state->header[1] == STDIN_RECORD && content == 0;
        }
    }
    return ends;
}

static void watch(int poll, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

static void accept_one(int poll, int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return; /* the other process was quicker */
    if (fd >= MOST_CONNECTIONS) {
        close(fd);
        return;
    }
    memset(&states[fd], 0, sizeof states[fd]);
    watch(poll, fd, EPOLLIN);
}

static void serve_one(int fd) {
    unsigned char data[65536];
    ssize_t length = read(fd, data, sizeof data);
    if (length <= 0) {
        if (length == 0 || errno != EAGAIN)
            close(fd);
        return;
    }
    for (int ends = count_ends(&states[fd], data, length); ends > 0; ends--)
        if (write(fd, answer, answer_length) != (ssize_t)answer_length) {
            close(fd);
            return;
        }
}

static void serve_kept(int listener) {
    struct epoll_event events[64];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0 || fcntl(listener, F_SETFL, O_NONBLOCK) < 0)
        fail("epoll_create1");
    watch(poll, listener, EPOLLIN | EPOLLEXCLUSIVE);
    for (;;) {
        int count = epoll_wait(poll, events, 64, -1);
        for (int number = 0; number < count; number++) {
            int fd = events[number].data.fd;
            if (fd == listener)
                accept_one(poll, listener);
            else
                serve_one(fd);
        }
    }
}

static void serve_closed(int listener) {
    unsigned char data[65536];
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (read(fd, data, sizeof data) <= 0 ||
            write(fd, answer, answer_length) != (ssize_t)answer_length)
            fprintf(stderr, "a connection broke\n");
        close(fd);
    }
}

static int open_listener(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || strlen(path) >= sizeof address.sun_path)
        fail("socket");
    strcpy(address.sun_path, path);
    umask(0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0)
        fail(path);
    return listener;
}

int main(int count, char **words) {
    if (count != 4 || (strcmp(words[1], "kept") && strcmp(words[1], "closed"))) {
        fprintf(stderr, "usage: responder kept|closed PROCESSES SOCKET\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    make_answer();
    int listener = open_listener(words[3]);
    pid_t parent = getpid();
    for (int number = atoi(words[2]); number > 0; number--) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            return 1; /* the parent ended before the line above */
        strcmp(words[1], "kept") ? serve_closed(listener) : serve_kept(listener);
    }
    while (wait(NULL) > 0)
        ;
    return 1;
}
