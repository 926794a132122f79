/* Bytes that grow. */
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void put(Buffer *buffer, const void *bytes, size_t length) {
    if (buffer->length + length > buffer->room) {
        buffer->room = 2 * (buffer->length + length);
        buffer->bytes = realloc(buffer->bytes, buffer->room);
        if (buffer->bytes == NULL)
            give_up("out of memory");
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

void put_text(Buffer *buffer, const char *text) { put(buffer, text, strlen(text)); }

void put_format(Buffer *buffer, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text)
        give_up("a request is longer than planned");
    put(buffer, text, (size_t)length);
}

void put_quoted(Buffer *buffer, const char *bytes, size_t length) {
    char text[2 * DATA_BYTES + 2];
    size_t at = 0;
    text[at++] = '"';
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\')
            text[at++] = '\\';
        text[at++] = bytes[i];
    }
    text[at++] = '"';
    put(buffer, text, at);
}
