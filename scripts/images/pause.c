/* The first process of a pod's sandbox: holds the namespaces, reaps what is left to it, and ends when it is told to. */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	sigset_t signals;
	int number;

	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		puts("usage: pause\n\nWaits for SIGTERM or SIGINT and reaps orphaned processes meanwhile.");
		return 0;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	/* Blocked and waited for: the first process of a PID namespace gets no signal that it does not take. */
	sigprocmask(SIG_BLOCK, &signals, NULL);
	for (;;) {
		if (sigwait(&signals, &number) != 0)
			return 1;
		if (number != SIGCHLD)
			return 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
