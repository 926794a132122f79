/* The load: one loop over epoll, one request in flight a client. load.py compiles and starts it, and reads the one JSON
   object that it prints. A job runs for a time (--seconds, of which --warm-up before is not measured), or until
   --streams streams are written. What was acknowledged is counted from the first request to the last reply. */
#include "histogram.h"
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 18, EVENTS_AT_ONCE = 256, SILENCE_MS_MAX = 30000, FAILURES_MAX = 20 };

Options options = {.protocol = "", .job = "", .script = "", .clients = 1, .events = 1, .stream_events = 10,
                   .page = 1000, .read_percent = 80, .seconds = 1};

static const Protocol *const protocols[] = {&eventflowdb, &redis_streams, &postgres, &nats};
static const Protocol *protocol;
static int poll_descriptor, active;
static uint64_t measured_from, measured_until, last_reply;
static Histogram appends, others;
static uint64_t acknowledged, conflicts, failures;
static char failure[160];
static int *winners;
static long winners_room, winners_count;
static long pass_events, passes;

_Noreturn void give_up(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int is_job(const char *name) { return strcmp(options.job, name) == 0; }

static void fail(const char *text) {
    snprintf(failure, sizeof failure, "%s", text);
    if (++failures > FAILURES_MAX)
        give_up("too many failures, the last one: %s", text);
}

/* --- sockets --- */

static void watch(Client *client, int change) {
    struct epoll_event event = {.events = EPOLLIN | (client->is_waiting_to_write ? EPOLLOUT : 0), .data.ptr = client};
    if (epoll_ctl(poll_descriptor, change, client->socket, &event))
        give_up("epoll_ctl: %s", strerror(errno));
}

static void flush(Client *client) {
    while (client->sent < client->out.length) {
        ssize_t sent = write(client->socket, client->out.bytes + client->sent, client->out.length - client->sent);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
            give_up("write: %s", strerror(errno));
        client->sent += (size_t)sent;
    }
    int must_wait = client->sent < client->out.length;
    if (!must_wait)
        client->sent = client->out.length = 0;
    if (must_wait != client->is_waiting_to_write) {
        client->is_waiting_to_write = must_wait;
        watch(client, EPOLL_CTL_MOD);
    }
}

static int fill(Client *client) {
    static char piece[PIECE_BYTES];
    ssize_t received = read(client->socket, piece, sizeof piece);
    if (received < 0 && errno == EAGAIN)
        return 0;
    if (received <= 0)
        give_up("the server closed a connection: %s", failure);
    put(&client->in, piece, (size_t)received);
    return 1;
}

static void begin_reply(Client *client) {
    client->reply.status = DONE;
    client->reply.events = 0;
    client->reply.text[0] = 0;
}

static void end_reply(Client *client) {
    size_t rest = client->in.length - client->seen;
    memmove(client->in.bytes, client->in.bytes + client->seen, rest);
    client->in.length = rest;
    client->seen = 0;
}

void exchange(Client *client, int (*receive)(Client *)) {
    begin_reply(client);
    flush(client);
    while (!receive(client))
        fill(client);
    end_reply(client);
    if (client->reply.status != DONE)
        give_up("a greeting was refused: %s", client->reply.text);
}

static void connect_client(Client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int on = 1;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    client->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (client->socket < 0 || connect(client->socket, (struct sockaddr *)&address, sizeof address))
        give_up("connect: %s", strerror(errno));
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (protocol->greet)
        protocol->greet(client);
    fcntl(client->socket, F_SETFL, O_NONBLOCK);
    watch(client, EPOLL_CTL_ADD);
}

/* --- what a client does --- */

/* Client c of n writes the streams c, c + n, c + 2n ..., counted from the first stream of the turn. */
static uint64_t stream_index(const Client *client) {
    return (uint64_t)options.first_stream + (uint64_t)client->turn * (uint64_t)options.clients + (uint64_t)client->number;
}

static void begin_stream(Client *client) {
    client->version = 0;
    client->tail[0] = 0;
    name_stream(client->stream, options.seed, is_job("conflict") ? 0 : stream_index(client));
}

static int is_over(const Client *client, uint64_t time) {
    if (options.streams)
        return stream_index(client) >= (uint64_t)(options.first_stream + options.streams);
    return time >= measured_until;
}

static Operation next_operation(Client *client) {
    if (is_job("ping"))
        return PING;
    if (is_job("log"))
        return LOG_PAGE;
    if (is_job("read"))
        return READ;
    if (is_job("mixed")) {
        client->random = mixed(client->random);
        return (client->random >> 8) % 100 < (uint64_t)options.read_percent ? READ : APPEND;
    }
    return client->must_read_again ? READ : APPEND;
}

static void ask_read(Client *client) {
    if (client->must_read_again) {
        protocol->read(client, client->stream, client->version, 1000);
        return;
    }
    char stream[UUID_BYTES + 1];
    client->random = mixed(client->random);
    name_stream(stream, options.loaded_seed, (client->random >> 8) % (uint64_t)options.loaded_streams);
    protocol->read(client, stream, 0, 10);
}

static void ask(Client *client) {
    uint64_t time = now();
    begin_reply(client);
    if (is_over(client, time)) {
        client->operation = IDLE;
        active--;
        return;
    }
    client->began = time;
    client->operation = next_operation(client);
    if (client->operation == PING)
        protocol->ping(client);
    else if (client->operation == APPEND)
        protocol->append(client);
    else if (client->operation == READ)
        ask_read(client);
    else
        protocol->log_page(client);
    flush(client);
}

static void note_winner(Client *client) {
    while (client->version >= winners_room) {
        long room = winners_room ? 2 * winners_room : 4096;
        winners = realloc(winners, (size_t)room * sizeof *winners);
        for (long i = winners_room; i < room; i++)
            winners[i] = -1;
        winners_room = room;
    }
    if (winners[client->version] != -1)
        fail("two clients were told that they had stored the same version");
    winners[client->version] = client->number;
    if (client->version >= winners_count)
        winners_count = client->version + 1;
}

static void note_append(Client *client) {
    if (client->reply.status == CONFLICT) {
        conflicts++;
        if (is_job("conflict"))
            client->must_read_again = 1;
        else
            fail(client->reply.text);
        return;
    }
    acknowledged += (uint64_t)options.events;
    if (client->reply.events != options.events)
        fail("an append was answered with another number of events");
    if (is_job("conflict"))
        note_winner(client);
    client->version += options.events;
    if (client->version >= options.stream_events && !is_job("conflict")) {
        client->turn++;
        begin_stream(client);
    }
}

static void note_read(Client *client) {
    if (!client->must_read_again) {
        if (client->reply.events != 10)
            fail("a read of a stream of ten events gave another number");
        return;
    }
    client->version += client->reply.events;
    client->must_read_again = client->reply.events >= 1000;
}

/* A page that is not full is the last one: the whole log must have come, and it begins anew. */
static void note_page(Client *client) {
    pass_events += client->reply.events;
    if (client->reply.events >= options.page)
        return;
    if (pass_events != options.log_events)
        fail("the pages of the log held another number of events than the store");
    pass_events = 0;
    passes++;
    client->cursor[0] = 0;
}

static void note_reply(Client *client) {
    uint64_t time = now();
    Status status = client->reply.status;
    last_reply = time;
    if (status == FAILED)
        fail(client->reply.text);
    if (time >= measured_from && (options.streams || time < measured_until) && status == DONE)
        note_latency(client->operation == APPEND ? &appends : &others, time - client->began, client->reply.events);
    if (status == FAILED)
        return;
    if (client->operation == APPEND)
        note_append(client);
    else if (client->operation == READ)
        note_read(client);
    else if (client->operation == LOG_PAGE)
        note_page(client);
}

static void take(Client *client) {
    if (!fill(client))
        return;
    while (client->operation != IDLE && client->in.length > client->seen && protocol->receive(client)) {
        end_reply(client);
        note_reply(client);
        ask(client);
    }
}

static void run(void) {
    struct epoll_event events[EVENTS_AT_ONCE];
    while (active > 0) {
        int count = epoll_wait(poll_descriptor, events, EVENTS_AT_ONCE, SILENCE_MS_MAX);
        if (count == 0)
            give_up("no reply came for %d s", SILENCE_MS_MAX / 1000);
        for (int i = 0; i < count; i++) {
            Client *client = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                flush(client);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                take(client);
        }
    }
}

/* --- from the command line, and to standard output --- */

static void read_option(const char *name, const char *value) {
    const struct { const char *name; const char **place; } texts[] = {
        {"--protocol", &options.protocol}, {"--job", &options.job}, {"--script", &options.script}};
    const struct { const char *name; int *place; } numbers[] = {
        {"--port", &options.port}, {"--clients", &options.clients}, {"--events", &options.events},
        {"--stream-events", &options.stream_events}, {"--page", &options.page},
        {"--read-percent", &options.read_percent}};
    const struct { const char *name; long *place; } longs[] = {
        {"--first-stream", &options.first_stream}, {"--streams", &options.streams}, {"--loaded-streams", &options.loaded_streams},
        {"--log-events", &options.log_events}};
    const struct { const char *name; uint64_t *place; } seeds[] = {
        {"--seed", &options.seed}, {"--loaded-seed", &options.loaded_seed}};
    const struct { const char *name; double *place; } times[] = {
        {"--seconds", &options.seconds}, {"--warm-up", &options.warm_up}};
#define LOOK_IN(table, read)                                       \
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)      \
        if (strcmp(table[i].name, name) == 0) {                    \
            *table[i].place = read;                                \
            return;                                                \
        }
    LOOK_IN(texts, value)
    LOOK_IN(numbers, atoi(value))
    LOOK_IN(longs, atol(value))
    LOOK_IN(seeds, strtoull(value, NULL, 10))
    LOOK_IN(times, atof(value))
    give_up("there is no option %s", name);
}

static void print_outcome(const Client *clients, double seconds) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"seconds\":%.6f,", seconds);
    print_histogram("appends", &appends);
    putchar(',');
    print_histogram("others", &others);
    printf(",\"acknowledged\":%llu,\"conflicts\":%llu,\"failures\":%llu,\"passes\":%ld,\"load_cpu_seconds\":%.3f",
           (unsigned long long)acknowledged, (unsigned long long)conflicts, (unsigned long long)failures, passes, cpu);
    for (char *at = failure; *at; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ')
            *at = ' ';
    printf(",\"failure\":\"%s\",\"written\":[", failure);
    for (int i = 0; i < options.clients; i++)
        printf("%s[%ld,%ld]", i ? "," : "", clients[i].turn, clients[i].version);
    printf("],\"winners\":[");
    for (long i = 0; i < winners_count; i++)
        printf("%s%d", i ? "," : "", winners[i]);
    printf("]}\n");
}

int main(int count, char **words) {
    for (int i = 1; i + 1 < count; i += 2)
        read_option(words[i], words[i + 1]);
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i]->name, options.protocol) == 0)
            protocol = protocols[i];
    if (protocol == NULL)
        give_up("there is no protocol %s", options.protocol);
    poll_descriptor = epoll_create1(0);
    Client *clients = calloc((size_t)options.clients, sizeof *clients);
    for (int i = 0; i < options.clients; i++) {
        clients[i].number = i;
        clients[i].random = mixed(now() + (uint64_t)i);
        connect_client(&clients[i]);
        begin_stream(&clients[i]);
    }
    active = options.clients;
    uint64_t began = now();
    measured_from = options.streams ? began : began + (uint64_t)(options.warm_up * 1e9);
    measured_until = measured_from + (uint64_t)(options.seconds * 1e9);
    for (int i = 0; i < options.clients; i++)
        ask(&clients[i]);
    run();
    print_outcome(clients, options.streams ? (double)(last_reply - began) / 1e9 : options.seconds);
    return 0;
}
