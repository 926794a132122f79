/* message-db: prepared statements over PostgreSQL's protocol 3, without a password.
   The statements before one Sync are one transaction: an append of many events is all or nothing. */
#include "load.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char category[] = "account";

static size_t begin(Buffer *out, char type) {
    if (type)
        put(out, &type, 1);
    size_t at = out->length;
    put(out, "\0\0\0\0", 4);
    return at;
}

static void end(Buffer *out, size_t at) {
    uint32_t length = htonl((uint32_t)(out->length - at));
    memcpy(out->bytes + at, &length, 4);
}

static void put_number(Buffer *out, uint32_t number) {
    number = htonl(number);
    put(out, &number, 4);
}

static void put_short(Buffer *out, uint16_t number) {
    number = htons(number);
    put(out, &number, 2);
}

static void put_name(Buffer *out, const char *name) { put(out, name, strlen(name) + 1); }

static void sync_up(Client *client) { end(&client->out, begin(&client->out, 'S')); }

static void prepare(Client *client, const char *name, const char *query) {
    size_t at = begin(&client->out, 'P');
    put_name(&client->out, name);
    put_name(&client->out, query);
    put_short(&client->out, 0);
    end(&client->out, at);
}

static void execute(Client *client, const char *name, const char *const *words, const size_t *lengths, int count) {
    Buffer *out = &client->out;
    size_t at = begin(out, 'B');
    put_name(out, "");
    put_name(out, name);
    put_short(out, 0);
    put_short(out, (uint16_t)count);
    for (int i = 0; i < count; i++) {
        put_number(out, (uint32_t)lengths[i]);
        put(out, words[i], lengths[i]);
    }
    put_short(out, 0);
    end(out, at);
    at = begin(out, 'E');
    put_name(out, "");
    put_number(out, 0);
    end(out, at);
}

static void execute_texts(Client *client, const char *name, const char *const *words, int count) {
    size_t lengths[4] = {0};
    for (int i = 0; i < count; i++)
        lengths[i] = strlen(words[i]);
    execute(client, name, words, lengths, count);
    sync_up(client);
}

static void append(Client *client) {
    char id[UUID_BYTES + 1], stream[64], data[DATA_BYTES], metadata[METADATA_BYTES], version[24];
    int stream_bytes = snprintf(stream, sizeof stream, "%s-%s", category, client->stream);
    write_metadata(metadata, client->stream, client->number);
    for (int i = 0; i < options.events; i++) {
        write_data(data, client->stream, client->version + i);
        client->random = mixed(client->random);
        name_stream(id, client->random, (uint64_t)client->number);
        int version_bytes = snprintf(version, sizeof version, "%ld", client->version + i - 1);
        const char *words[] = {id, stream, event_type, data, metadata, version};
        size_t lengths[] = {UUID_BYTES,     (size_t)stream_bytes,  strlen(event_type), DATA_BYTES,
                            METADATA_BYTES, (size_t)version_bytes};
        execute(client, "write", words, lengths, 6);
    }
    sync_up(client);
}

static void read_stream(Client *client, const char *stream, long version, long limit) {
    char name[64], from[24], most[24];
    snprintf(name, sizeof name, "%s-%s", category, stream);
    snprintf(from, sizeof from, "%ld", version);
    snprintf(most, sizeof most, "%ld", limit);
    const char *words[] = {name, from, most};
    execute_texts(client, "read", words, 3);
}

static void log_page(Client *client) {
    char from[24], most[24];
    snprintf(from, sizeof from, "%ld", client->cursor[0] ? atol(client->cursor) + 1 : 0);
    snprintf(most, sizeof most, "%d", options.page);
    const char *words[] = {category, from, most};
    execute_texts(client, "log", words, 3);
}

static void ping(Client *client) { execute_texts(client, "ping", NULL, 0); }

static uint32_t number_at(const char *bytes) {
    uint32_t number;
    memcpy(&number, bytes, 4);
    return ntohl(number);
}

/* The fifth column of a row of messages is its global position. */
static void keep_position(Client *client, const char *row) {
    row += 2;
    for (int column = 0; column < 4; column++) {
        int32_t length = (int32_t)number_at(row);
        row += 4 + (length > 0 ? length : 0);
    }
    uint32_t length = number_at(row);
    memcpy(client->cursor, row + 4, length);
    client->cursor[length] = 0;
}

static void note_message(Client *client, char type, const char *body, size_t length) {
    Reply *reply = &client->reply;
    if (type == 'D') {
        if (client->operation == LOG_PAGE)
            keep_position(client, body);
        if (client->operation != PING)
            reply->events++;
    } else if (type == 'E') {
        int is_conflict = memmem(body, length, "Wrong expected version", 22) != NULL;
        reply->status = is_conflict ? CONFLICT : FAILED;
        const char *text = memmem(body, length, "\0M", 2);
        snprintf(reply->text, sizeof reply->text, "%s", text ? text + 2 : "an error without a text");
    } else if (type == 'R' && number_at(body) != 0)
        give_up("PostgreSQL wants a password");
}

/* A reply ends with ReadyForQuery. */
static int receive(Client *client) {
    for (;;) {
        const char *message = client->in.bytes + client->seen;
        size_t held = client->in.length - client->seen;
        if (held < 5 || held < 1 + (size_t)number_at(message + 1))
            return 0;
        note_message(client, message[0], message + 5, number_at(message + 1) - 4);
        client->seen += 1 + (size_t)number_at(message + 1);
        if (message[0] == 'Z')
            return 1;
    }
}

static void greet(Client *client) {
    size_t at = begin(&client->out, 0);
    put_number(&client->out, 3 << 16);
    const char *words[] = {"user", "postgres", "database", "message_store", "options",
                           "-c search_path=message_store,public -c client_min_messages=warning", ""};
    for (int i = 0; i < 7; i++)
        put_name(&client->out, words[i]);
    end(&client->out, at);
    exchange(client, receive);
    prepare(client, "ping", "SELECT 1");
    prepare(client, "write", "SELECT write_message($1::varchar,$2::varchar,$3::varchar,$4::jsonb,$5::jsonb,$6::bigint)");
    prepare(client, "read", "SELECT * FROM get_stream_messages($1::varchar,$2::bigint,$3::bigint)");
    prepare(client, "log", "SELECT * FROM get_category_messages($1::varchar,$2::bigint,$3::bigint)");
    sync_up(client);
    exchange(client, receive);
}

const Protocol postgres = {"postgres", greet, ping, append, read_stream, log_page, receive};
