/* NATS JetStream: a subject a stream, and the expected last sequence of the subject as its condition. Several events are
   one atomic batch. Reads are batched direct gets, whose last message has the status 204, or 404 where nothing is. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Buffer headers;

static void inbox(char *name, const Client *client) { snprintf(name, 48, "_INBOX.%d.%d", (int)getpid(), client->number); }

static void publish(Client *client, int has_reply, const char *data, size_t length) {
    char reply[48] = "";
    if (has_reply)
        inbox(reply, client);
    put_format(&client->out, "HPUB event.%s %s %zu %zu\r\n", client->stream, reply, headers.length,
               headers.length + length);
    put(&client->out, headers.bytes, headers.length);
    put(&client->out, data, length);
    put(&client->out, "\r\n", 2);
}

static void append(Client *client) {
    char data[DATA_BYTES], metadata[METADATA_BYTES], batch[UUID_BYTES + 1];
    write_metadata(metadata, client->stream, client->number);
    client->random = mixed(client->random);
    name_stream(batch, client->random, (uint64_t)client->number);
    for (int i = 0; i < options.events; i++) {
        int is_last = i == options.events - 1;
        write_data(data, client->stream, client->version + i);
        headers.length = 0;
        put_format(&headers, "NATS/1.0\r\nEvent-Type: %s\r\nEvent-Version: %ld\r\nEvent-Metadata: ", event_type,
                   client->version + i);
        put(&headers, metadata, METADATA_BYTES);
        put_text(&headers, "\r\n");
        if (i == 0)
            put_format(&headers, "Nats-Expected-Last-Subject-Sequence: %s\r\n", client->tail[0] ? client->tail : "0");
        if (options.events > 1)
            put_format(&headers, "Nats-Batch-Id: %s\r\nNats-Batch-Sequence: %d\r\n%s", batch, i + 1,
                       is_last ? "Nats-Batch-Commit: 1\r\n" : "");
        put_text(&headers, "\r\n");
        publish(client, is_last, data, DATA_BYTES);
    }
}

static void get(Client *client, const char *subject, const char *after, long limit) {
    char reply[48], question[160];
    inbox(reply, client);
    int length = snprintf(question, sizeof question, "{\"batch\":%ld,\"next_by_subj\":\"%s\",\"seq\":%ld}", limit, subject,
                          atol(after) + 1);
    put_format(&client->out, "PUB $JS.API.DIRECT.GET.EVENTS %s %d\r\n%s\r\n", reply, length, question);
}

/* A stream that is read again after a conflict is read from the last sequence that the client knows. */
static void read_stream(Client *client, const char *stream, long version, long limit) {
    char subject[64];
    (void)version;
    snprintf(subject, sizeof subject, "event.%s", stream);
    get(client, subject, client->must_read_again ? client->tail : "", limit);
}

static void log_page(Client *client) { get(client, ">", client->cursor, options.page); }

static void ping(Client *client) { put_text(&client->out, "PING\r\n"); }

static void keep_number(char *place, size_t room, const char *digits) { snprintf(place, room, "%lld", atoll(digits)); }

static int note_ack(Client *client, const char *text, size_t length) {
    Reply *reply = &client->reply;
    const char *sequence = memmem(text, length, "\"seq\":", 6);
    if (memmem(text, length, "\"error\"", 7)) {
        int is_conflict = memmem(text, length, ":10071", 6) || memmem(text, length, ":10164", 6);
        reply->status = is_conflict ? CONFLICT : FAILED;
        snprintf(reply->text, sizeof reply->text, "%.*s", (int)length, text);
    } else if (sequence == NULL)
        give_up("an acknowledgement without a sequence");
    else {
        keep_number(client->tail, sizeof client->tail, sequence + 6);
        reply->events = options.events;
    }
    return 1;
}

static int note_stored(Client *client, const char *text, size_t length) {
    static const char name[] = "Nats-Sequence: ";
    if (memcmp(text, "NATS/1.0 ", 9) == 0) {
        if (memcmp(text + 9, "204", 3) && memcmp(text + 9, "404", 3)) {
            client->reply.status = FAILED;
            snprintf(client->reply.text, sizeof client->reply.text, "%.40s", text);
        }
        return 1;
    }
    const char *sequence = memmem(text, length, name, sizeof name - 1);
    if (sequence == NULL)
        give_up("a stored message without a sequence");
    client->reply.events++;
    if (client->operation == LOG_PAGE)
        keep_number(client->cursor, sizeof client->cursor, sequence + sizeof name - 1);
    else if (client->must_read_again)
        keep_number(client->tail, sizeof client->tail, sequence + sizeof name - 1);
    return 0;
}

static size_t last_number(const char *line, size_t length) {
    while (length && line[length - 1] != ' ')
        length--;
    return strtoul(line + length, NULL, 10);
}

static int receive(Client *client) {
    for (;;) {
        const char *line = client->in.bytes + client->seen;
        size_t held = client->in.length - client->seen;
        const char *end = held ? memchr(line, '\n', held) : NULL;
        if (end == NULL)
            return 0;
        size_t length = (size_t)(end - line) - 1, taken = length + 2;
        int is_message = memcmp(line, "MSG ", 4) == 0 || memcmp(line, "HMSG", 4) == 0, is_whole = 0;
        if (is_message) {
            size_t payload = last_number(line, length);
            if (taken + payload + 2 > held)
                return 0;
            is_whole = line[0] == 'M' ? note_ack(client, line + taken, payload) : note_stored(client, line + taken, payload);
            taken += payload + 2;
        } else if (memcmp(line, "PING", 4) == 0)
            put_text(&client->out, "PONG\r\n"); /* goes with the next request */
        else if (memcmp(line, "PONG", 4) == 0)
            is_whole = 1;
        else if (line[0] == '-')
            give_up("%.*s", (int)length, line);
        client->seen += taken;
        if (is_whole)
            return 1;
    }
}

static void greet(Client *client) {
    char reply[48];
    inbox(reply, client);
    put_format(&client->out, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB %s 1\r\nPING\r\n",
               reply);
    exchange(client, receive);
}

const Protocol nats = {"nats", greet, ping, append, read_stream, log_page, receive};
