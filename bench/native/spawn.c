/*
 * Runs a program to its end and says how long that took, what it took of the processors, and the most memory that it had:
 *
 *     spawn PROGRAM [ARGUMENT…]        prints {"ms","cpuus","kb"}
 *
 * Linked statically: what execve(2) replaces counts for ru_maxrss as well (getrusage(2)), and must be less.
 */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

int main(int argc, char **argv, char **environment)
{
    if (argc < 2)
        return 2;
    struct timespec begin, end;
    struct rusage usage;
    pid_t child;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int error = posix_spawn(&child, argv[1], NULL, NULL, argv + 1, environment);
    if (error) {
        fprintf(stderr, "spawn: %s: %s\n", argv[1], strerror(error));
        return 1;
    }
    if (wait4(child, &status, 0, &usage) < 0)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return 1;
    double ms = (end.tv_sec - begin.tv_sec) * 1e3 + (end.tv_nsec - begin.tv_nsec) / 1e6;
    long cpu = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    printf("{\"ms\":%.3f,\"cpuus\":%ld,\"kb\":%ld}\n", ms, cpu, usage.ru_maxrss);
    return 0;
}
