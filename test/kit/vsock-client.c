// What any process of a guest can do with vsock: vsock-client CID PORT sends its standard input to there and prints what
// comes back, until the other end closes or has said nothing for two seconds. Exit status: 0, or 1 if it got nowhere.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

static int fail(const char *what) {
  perror(what);
  return 1;
}

static int send_all(int fd, const char *bytes, ssize_t left) {
  while (left > 0) {
    ssize_t sent = send(fd, bytes, left, MSG_NOSIGNAL);
    if (sent < 0) return -1;
    bytes += sent;
    left -= sent;
  }
  return 0;
}

int main(int argc, char **argv) {
  static char buffer[65536];
  struct sockaddr_vm host = {.svm_family = AF_VSOCK};
  if (argc != 3) return 2;
  host.svm_cid = strtoul(argv[1], NULL, 10);
  host.svm_port = strtoul(argv[2], NULL, 10);
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fd < 0) return fail("socket");
  if (connect(fd, (struct sockaddr *)&host, sizeof host) < 0) return fail("connect");
  for (ssize_t got; (got = read(STDIN_FILENO, buffer, sizeof buffer)) > 0;) {
    // A host that has heard enough may have an answer all the same.
    if (send_all(fd, buffer, got) < 0) break;
  }
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  while (poll(&wait, 1, 2000) > 0) {
    ssize_t got = read(fd, buffer, sizeof buffer);
    if (got <= 0) break;
    if (write(STDOUT_FILENO, buffer, got) != got) return fail("write");
  }
  return 0;
}
