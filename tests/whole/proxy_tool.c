/* The tests' proxy as a program: proxy_tool [USER PASSWORD]. Prints its port, ends with its standard input, and then prints how many
 * tunnels it made and how many it refused for their user or password. */
#include "support/test_proxy.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    test_proxy *proxy = argc == 3 ? test_proxy_start(argv[1], argv[2]) : test_proxy_start(NULL, NULL);
    printf("%d\n", test_proxy_port(proxy));
    (void)fflush(stdout);
    while (getchar() != EOF)
        ;
    printf("%u tunnels, %u refused\n", test_proxy_tunnels(proxy), test_proxy_refusals(proxy));
    test_proxy_stop(proxy);
    return 0;
}
