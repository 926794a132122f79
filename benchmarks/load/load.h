/* What the parts of the load share: clients, requests, replies, and the protocols that turn the one into the other. */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>

enum { UUID_BYTES = 36, DATA_BYTES = 256, METADATA_BYTES = 63, CURSOR_BYTES = 64 };

typedef struct {
    char *bytes;
    size_t length, room;
} Buffer;

typedef enum { IDLE, PING, APPEND, READ, LOG_PAGE } Operation;
typedef enum { DONE, CONFLICT, FAILED } Status;

typedef struct {
    Status status;
    long events;      /* that came, or that were stored */
    char text[160];   /* of a refusal */
} Reply;

typedef struct {
    int socket, number;
    int is_waiting_to_write;
    Buffer out, in;
    size_t sent;      /* of `out` */
    size_t seen;      /* of `in`: what `receive` has understood */
    Operation operation;
    uint64_t began;   /* of the operation, in ns */
    uint64_t random;

    char stream[UUID_BYTES + 1]; /* the one it appends to */
    long turn, version;          /* the how manieth of its streams that is, and how many events it holds */
    int must_read_again;         /* after a conflict */

    /* What `receive` keeps between pieces of one reply. */
    long missing;
    int is_entry_next, has_reply_begun;
    Reply reply;
    char cursor[CURSOR_BYTES + 1]; /* where the next page of the log begins; empty: at its beginning */
    char tail[32];                 /* the identity of the stream's last event, where a protocol needs it */
} Client;

typedef struct {
    const char *name;
    void (*greet)(Client *);                                   /* on a blocking socket; may be NULL */
    void (*ping)(Client *);
    void (*append)(Client *);                                  /* options.events to client->stream */
    void (*read)(Client *, const char *stream, long version, long limit);
    void (*log_page)(Client *);                                /* of options.page, behind client->cursor */
    int (*receive)(Client *);                                  /* 1: client->reply is whole */
} Protocol;

typedef struct {
    const char *protocol, *job, *script;
    int port, clients, events, stream_events, page, read_percent;
    long first_stream, streams, loaded_streams, log_events;
    uint64_t seed, loaded_seed;
    double seconds, warm_up;
} Options;

extern Options options;
extern const Protocol eventflowdb, redis_streams, postgres, nats;

_Noreturn void give_up(const char *format, ...);

void put(Buffer *buffer, const void *bytes, size_t length);
void put_text(Buffer *buffer, const char *text);
void put_format(Buffer *buffer, const char *format, ...);
void put_quoted(Buffer *buffer, const char *bytes, size_t length); /* as a JSON string */

/* A request is sent and answered at once, before the load begins. */
void exchange(Client *client, int (*receive)(Client *));

uint64_t mixed(uint64_t value);
void name_stream(char *name, uint64_t seed, uint64_t index);
void write_data(char *data, const char *stream, long version);
void write_metadata(char *metadata, const char *stream, int client);
extern const char *const event_type;

#endif
