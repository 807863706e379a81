/* To be preloaded: it is another time, KN_TEST_CLOCK seconds after 1970. */
#include <stdlib.h>
#include <time.h>

__attribute__((visibility("default"))) time_t time(time_t *at);

time_t time(time_t *at)
{
    time_t now = (time_t)strtoll(getenv("KN_TEST_CLOCK"), NULL, 10);
    if (at)
        *at = now;
    return now;
}
