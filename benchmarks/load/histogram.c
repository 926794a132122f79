#include "histogram.h"

#include <stdio.h>

void note_latency(Histogram *histogram, uint64_t nanoseconds, long events) {
    uint64_t step = nanoseconds;
    if (nanoseconds >= STEPS) {
        int shift = 63 - __builtin_clzll(nanoseconds) - STEPS_BITS;
        step = (uint64_t)shift * STEPS + (nanoseconds >> shift);
    }
    histogram->counts[step]++;
    histogram->operations++;
    histogram->events += (uint64_t)events;
}

/* The middle of a step. */
static uint64_t latency_of(uint64_t step) {
    if (step < 2 * STEPS)
        return step;
    uint64_t shift = step / STEPS - 1;
    return ((step % STEPS + STEPS) << shift) + (1ull << shift) / 2;
}

void print_histogram(const char *name, const Histogram *histogram) {
    const char *separator = "";
    printf("\"%s\":{\"operations\":%llu,\"events\":%llu,\"latencies_ns\":[", name,
           (unsigned long long)histogram->operations, (unsigned long long)histogram->events);
    for (uint64_t step = 0; step < STEPS_ALL; step++)
        if (histogram->counts[step]) {
            printf("%s[%llu,%llu]", separator, (unsigned long long)latency_of(step),
                   (unsigned long long)histogram->counts[step]);
            separator = ",";
        }
    printf("]}");
}
