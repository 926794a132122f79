/* Latencies in ns, in steps of less than two per cent. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { STEPS_BITS = 6, STEPS = 1 << STEPS_BITS, STEPS_ALL = STEPS * (65 - STEPS_BITS) };

typedef struct {
    uint64_t counts[STEPS_ALL];
    uint64_t operations, events;
} Histogram;

void note_latency(Histogram *histogram, uint64_t nanoseconds, long events);
void print_histogram(const char *name, const Histogram *histogram);

#endif
