/* The tests' proxy as a program: prints its port, ends with its standard input. */
#include "support/test_proxy.h"

#include <stdio.h>

int main(void)
{
    test_proxy *proxy = test_proxy_start(NULL, NULL);
    printf("%d\n", test_proxy_port(proxy));
    (void)fflush(stdout);
    while (getchar() != EOF)
        ;
    test_proxy_stop(proxy);
    return 0;
}
