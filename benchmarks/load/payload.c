/* The events: they follow from seed, stream, version and client, so that payload.py can tell what must be stored. */
#include "load.h"

#include <stdio.h>
#include <string.h>

const char *const event_type = "AccountOpened";

/* The finalizer of splitmix64. */
uint64_t mixed(uint64_t value) {
    value += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

void name_stream(char *name, uint64_t seed, uint64_t index) {
    uint64_t high = mixed(mixed(seed) + index), low = mixed(high);
    snprintf(name, UUID_BYTES + 1, "%08llx-%04llx-4%03llx-8%03llx-%012llx", (unsigned long long)(high >> 32),
             (unsigned long long)(high >> 16 & 0xffff), (unsigned long long)(high & 0xfff),
             (unsigned long long)(low >> 52), (unsigned long long)(low & 0xffffffffffff));
}

/* DATA_BYTES of JSON: the stream, the version, and the stream's name over and over. */
void write_data(char *data, const char *stream, long version) {
    int at = snprintf(data, DATA_BYTES, "{\"account\":\"%s\",\"version\":%ld,\"note\":\"", stream, version);
    for (int filled = 0; at < DATA_BYTES - 2; filled++)
        data[at++] = stream[filled % UUID_BYTES];
    memcpy(data + at, "\"}", 2);
}

void write_metadata(char *metadata, const char *stream, int client) {
    char text[METADATA_BYTES + 8];
    snprintf(text, sizeof text, "{\"client\":\"%04d\",\"user\":\"%s\"}", client, stream);
    memcpy(metadata, text, METADATA_BYTES);
}
