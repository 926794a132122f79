/* EventflowDB and Redis Streams, which both speak RESP2. */
#include "load.h"

#include <stdlib.h>
#include <string.h>

static Buffer argument;

static void put_word(Buffer *out, const char *bytes, size_t length) {
    put_format(out, "$%zu\r\n", length);
    put(out, bytes, length);
    put(out, "\r\n", 2);
}

static void put_words(Buffer *out, const char *const *words, int count) {
    put_format(out, "*%d\r\n", count);
    for (int i = 0; i < count; i++)
        put_word(out, words[i], strlen(words[i]));
}

static void ask(Client *client, const char *command) {
    put_format(&client->out, "*2\r\n");
    put_word(&client->out, command, strlen(command));
    put_word(&client->out, argument.bytes, argument.length);
}

static void ping(Client *client) { put_text(&client->out, "*1\r\n$4\r\nPING\r\n"); }

static void eventflowdb_append(Client *client) {
    char data[DATA_BYTES], metadata[METADATA_BYTES];
    argument.length = 0;
    put_format(&argument, "{\"stream\":\"%s\",\"version\":%ld,\"events\":[", client->stream, client->version);
    write_metadata(metadata, client->stream, client->number);
    for (int i = 0; i < options.events; i++) {
        write_data(data, client->stream, client->version + i);
        put_format(&argument, "%s{\"type\":\"%s\",\"data\":", i ? "," : "", event_type);
        put_quoted(&argument, data, DATA_BYTES);
        put_text(&argument, ",\"metadata\":");
        put_quoted(&argument, metadata, METADATA_BYTES);
        put_text(&argument, "}");
    }
    put_text(&argument, "]}");
    ask(client, "ADD");
}

static void eventflowdb_read(Client *client, const char *stream, long version, long limit) {
    argument.length = 0;
    put_format(&argument, "{\"stream\":\"%s\",\"version\":%ld,\"limit\":%ld}", stream, version, limit);
    ask(client, "GET");
}

static void eventflowdb_log_page(Client *client) {
    argument.length = 0;
    if (client->cursor[0])
        put_format(&argument, "{\"after\":\"%s\",\"limit\":%d}", client->cursor, options.page);
    else
        put_format(&argument, "{\"limit\":%d}", options.page);
    ask(client, "GETALL");
}

/* The script checks how many entries the stream has, and adds each event to it and to the log. */
static void redis_append(Client *client) {
    char data[DATA_BYTES], metadata[METADATA_BYTES], key[UUID_BYTES + 8] = "stream:", number[24];
    memcpy(key + 7, client->stream, UUID_BYTES + 1);
    const char *words[] = {"EVALSHA", options.script, "2", key, "log"};
    put_format(&client->out, "*%d\r\n", 6 + 3 * options.events);
    for (int i = 0; i < 5; i++)
        put_word(&client->out, words[i], strlen(words[i]));
    int length = 0;
    char digits[24];
    long rest = client->version;
    do digits[length++] = (char)('0' + rest % 10);
    while (rest /= 10);
    for (int i = 0; i < length; i++)
        number[i] = digits[length - 1 - i];
    put_word(&client->out, number, (size_t)length);
    write_metadata(metadata, client->stream, client->number);
    for (int i = 0; i < options.events; i++) {
        write_data(data, client->stream, client->version + i);
        put_word(&client->out, event_type, strlen(event_type));
        put_word(&client->out, data, DATA_BYTES);
        put_word(&client->out, metadata, METADATA_BYTES);
    }
}

static void range(Client *client, const char *key, const char *from, const char *count) {
    const char *words[] = {"XRANGE", key, from, "+", "COUNT", count};
    put_words(&client->out, words, 6);
}

static void redis_read(Client *client, const char *stream, long version, long limit) {
    Buffer words = {0};
    put_format(&words, "stream:%s%c%ld-0%c%ld%c", stream, 0, version + 1, 0, limit, 0);
    const char *key = words.bytes, *from = key + strlen(key) + 1, *count = from + strlen(from) + 1;
    range(client, key, from, count);
    free(words.bytes);
}

static void redis_log_page(Client *client) {
    Buffer words = {0};
    put_format(&words, "%s%s%c%d%c", client->cursor[0] ? "(" : "-", client->cursor, 0, options.page, 0);
    const char *from = words.bytes, *count = from + strlen(from) + 1;
    range(client, "log", from, count);
    free(words.bytes);
}

static void refuse(Client *client, const char *line, size_t length) {
    Reply *reply = &client->reply;
    size_t kept = length < sizeof reply->text - 1 ? length : sizeof reply->text - 1;
    memcpy(reply->text, line, kept);
    reply->text[kept] = 0;
    reply->status = strncmp(reply->text, "CON", 3) == 0 ? CONFLICT : FAILED; /* CONCURRENCY, and the script's CONFLICT */
}

static void keep_cursor(Client *client, const char *bytes, size_t length) {
    if (length > CURSOR_BYTES)
        give_up("a cursor of %zu bytes", length);
    memcpy(client->cursor, bytes, length);
    client->cursor[length] = 0;
}

/* A bulk string came: EventflowDB's events begin with their id; Redis has the id as the first of an entry's two parts. */
static void note_bulk(Client *client, const char *bytes, size_t length) {
    static const char id[] = "{\"id\":\"";
    if (client->operation != LOG_PAGE)
        return;
    if (client->is_entry_next)
        keep_cursor(client, bytes, length);
    else if (length > 40 && memcmp(bytes, id, sizeof id - 1) == 0)
        keep_cursor(client, bytes + sizeof id - 1, 26);
    client->is_entry_next = 0;
}

static void note_line(Client *client, const char *line, size_t length, long number) {
    if (line[0] == '*') {
        client->missing += number > 0 ? number : 0;
        if (!client->has_reply_begun)
            client->reply.events = number;
        client->is_entry_next = number == 2 && client->has_reply_begun;
    } else if (line[0] == '-')
        refuse(client, line + 1, length - 1);
    else if (line[0] == ':' && !client->has_reply_begun)
        client->reply.events = options.events;
    client->has_reply_begun = 1;
}

/* Goes through what has come once, element by element: a page is not looked at again with each piece of it. */
static int receive(Client *client) {
    if (client->missing == 0) {
        client->missing = 1;
        client->has_reply_begun = client->is_entry_next = 0;
    }
    while (client->missing) {
        const char *line = client->in.bytes + client->seen;
        size_t held = client->in.length - client->seen;
        const char *end = held ? memchr(line, '\r', held) : NULL;
        if (end == NULL || (size_t)(end - line) + 2 > held)
            return 0;
        size_t length = (size_t)(end - line), taken = length + 2;
        long number = strtol(line + 1, NULL, 10);
        if (line[0] == '$' && number >= 0) {
            if (taken + (size_t)number + 2 > held)
                return 0;
            note_bulk(client, line + taken, (size_t)number);
            taken += (size_t)number + 2;
        }
        note_line(client, line, length, number);
        client->seen += taken;
        client->missing--;
    }
    return 1;
}

const Protocol eventflowdb = {"eventflowdb", NULL, ping, eventflowdb_append, eventflowdb_read, eventflowdb_log_page,
                              receive};
const Protocol redis_streams = {"redis", NULL, ping, redis_append, redis_read, redis_log_page, receive};
