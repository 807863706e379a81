#include "prov_deadline.h"

#include <poll.h>
#include <time.h>

int64_t prov_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

prov_limits prov_limits_start(uint32_t step_timeout_ms, uint32_t timeout_ms, atomic_bool *cancel)
{
    return (prov_limits){
        .step_timeout_ms = step_timeout_ms,
        .timeout_ms = timeout_ms,
        .end_ms = prov_now_ms() + timeout_ms,
        .cancel = cancel,
    };
}

prov_deadline prov_deadline_of_step(const prov_limits *limits, const char *step)
{
    prov_deadline deadline = {
        .at_ms = prov_now_ms() + limits->step_timeout_ms,
        .limit_ms = limits->step_timeout_ms,
        .step = step,
        .cancel = limits->cancel,
    };

    if (limits->end_ms < deadline.at_ms) {
        deadline.at_ms = limits->end_ms;
        deadline.limit_ms = limits->timeout_ms;
        deadline.overall = true;
    }
    return deadline;
}

prov_deadline prov_deadline_of_pause(const prov_limits *limits, uint32_t pause_ms)
{
    return (prov_deadline){
        .at_ms = prov_now_ms() + pause_ms,
        .limit_ms = pause_ms,
        .step = "the pause that the service asked for",
        .cancel = limits->cancel,
    };
}

int64_t prov_deadline_left_ms(const prov_deadline *deadline)
{
    int64_t left = deadline->at_ms - prov_now_ms();

    return left > 0 ? left : 0;
}

kn_prov_code prov_deadline_check(const prov_deadline *deadline, prov_error *error)
{
    if (deadline->cancel && atomic_load(deadline->cancel))
        return prov_fail(error, KN_PROV_E_CANCELLED, "the caller asked to stop, in %s", deadline->step);
    if (prov_deadline_left_ms(deadline) == 0)
        return prov_fail(error, KN_PROV_E_TIMEOUT, "%s of %u.%03u s is over in %s",
                         deadline->overall ? "the overall limit" : "the limit", deadline->limit_ms / 1000,
                         deadline->limit_ms % 1000, deadline->step);
    return KN_PROV_OK;
}

void prov_deadline_poll(const prov_deadline *deadline, int fd, short events)
{
    struct pollfd item = {.fd = fd, .events = events};
    int64_t left = prov_deadline_left_ms(deadline);

    if (left > PROV_SLICE_MS)
        left = PROV_SLICE_MS;
    /* An error of poll(), EINTR included, shows in the next send, receive or look at the clock. */
    (void)poll(&item, 1, (int)left);
}

kn_prov_code prov_deadline_sleep(const prov_limits *limits, uint32_t pause_ms, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_pause(limits, pause_ms);
    kn_prov_code code;

    while ((code = prov_deadline_check(&deadline, error)) == KN_PROV_OK)
        prov_deadline_poll(&deadline, -1, 0);
    return code == KN_PROV_E_TIMEOUT ? KN_PROV_OK : code;
}
