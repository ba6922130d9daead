// SPDX-License-Identifier: MIT
/*
 * agent - answers the harness on a serial line of its own.
 *
 * usage: agent TTY
 *
 * One frame, either way:
 *
 *     @NONCE SEQ KIND LEN CRC\n PAYLOAD \n
 *
 * NONCE is the machine's word (hex), SEQ counts the harness's requests, LEN is
 * the payload's length in bytes, CRC is CRC-32 (IEEE, as zlib's) in hex over
 * "NONCE SEQ KIND LEN\n" and the payload. A frame whose CRC does not fit is
 * answered by `nak` and has no effect; a SEQ that was served already is
 * answered by `dup` and is not served again.
 *
 * Requests:  hello BYTES      takes NONCE as the machine's word, stirs BYTES into the kernel's
 *                             random pool (clones of one template share its state) -> ready,
 *                             with the same as pong
 *            ping BYTES       -> pong "BEFORE AFTER BYTES": CLOCK_MONOTONIC in ns around a 1 ms sleep
 *            run  TEXT        evaluates TEXT in a lasting /bin/sh -> out*, err*,
 *                             exit "STATUS OUT ERR" (bytes of each that were sent)
 *            kill             kills that shell and all it started -> exit of the run
 *            get  PATH        -> data*, end "SIZE CRC"
 *            many PATTERNS    the files that match, one pattern a line -> (file PATH, data*)*,
 *                             end "SIZE CRC" over all contents; what cannot be read is left out
 *            put  "MODE PATH" -> ok; then data frames, each -> ok; an empty one ends it -> end "SIZE CRC"
 *            word PATH        writes the machine's word there, for those who ask over ssh -> ok
 * Anything that cannot be done -> fail "ERRNO words".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/random.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 2048		/* payload of one out, err or data frame */
#define REQUEST_MAX (256 * 1024)
#define SHELL_STATUS_FD 9	/* where the shell writes the exit status */

static int tty;
static char nonce[40] = "0";
static unsigned long served;	/* last SEQ that was served */
static unsigned long running;	/* SEQ of the run under way, 0 if none */
static unsigned long sent_out, sent_err;	/* bytes of its output so far */

static pid_t shell;
static int shell_in = -1, shell_out = -1, shell_err = -1, shell_status = -1;

static int put_fd = -1;
static char put_path[1024];

static uint32_t crc_table[256];

static void crc_setup(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
		crc_table[i] = c;
	}
}

static uint32_t crc(uint32_t c, const void *data, size_t len)
{
	const unsigned char *p = data;

	c = ~c;
	while (len--)
		c = crc_table[(c ^ *p++) & 0xff] ^ (c >> 8);
	return ~c;
}

static void write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;	/* the reader is gone; poll() will say so */
		p += n;
		len -= n;
	}
}

static void send_frame(unsigned long seq, const char *kind, const void *payload, size_t len)
{
	static char frame[CHUNK + 256];
	char head[128];
	int n;

	if (len > CHUNK)
		len = CHUNK;
	n = snprintf(head, sizeof(head), "%s %lu %s %zu\n", nonce, seq, kind, len);
	n = snprintf(frame, sizeof(frame), "@%.*s %08x\n", n - 1, head,
		     crc(crc(0, head, n), payload, len));
	memcpy(frame + n, payload, len);
	frame[n + len] = '\n';
	write_all(tty, frame, n + len + 1);
}

static void send_text(unsigned long seq, const char *kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void send_text(unsigned long seq, const char *kind, const char *format, ...)
{
	char text[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	send_frame(seq, kind, text, n < (int)sizeof(text) ? n : (int)sizeof(text) - 1);
}

static void send_errno(unsigned long seq, const char *what)
{
	int error = errno;

	send_text(seq, "fail", "%d %s: %s", error, what, strerror(error));
}

static void shell_start(void)
{
	int in[2], out[2], err[2], status[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) ||
	    pipe2(status, O_CLOEXEC)) {
		perror("agent: pipe");
		exit(1);
	}
	shell = fork();
	if (shell < 0) {
		perror("agent: fork");
		exit(1);
	}
	if (!shell) {
		int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

		if (fd >= 0)
			write_all(fd, "0", 1);
		setsid();
		signal(SIGPIPE, SIG_DFL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		dup2(status[1], SHELL_STATUS_FD);
		execl("/bin/sh", "sh", "-s", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	close(status[1]);
	shell_in = in[1];
	shell_out = out[0];
	shell_err = err[0];
	shell_status = status[0];
	fcntl(shell_out, F_SETFL, O_NONBLOCK);
	fcntl(shell_err, F_SETFL, O_NONBLOCK);
}

/* Passes on what one of the shell's pipes holds now; bounded, so that an endless writer cannot starve the rest. */
static bool forward(int fd, const char *kind, int most)
{
	char data[CHUNK];
	ssize_t n = 0;

	while (most-- && (n = read(fd, data, sizeof(data))) > 0) {
		send_frame(running ? running : served, kind, data, n);
		*(fd == shell_out ? &sent_out : &sent_err) += n;
	}
	return n != 0;	/* false at end of file */
}

static void run_ends(const char *status)
{
	/* Whatever was written before the status is in the pipes now: at most a pipe's capacity. */
	forward(shell_out, "out", 64);
	forward(shell_err, "err", 64);
	if (running)
		send_text(running, "exit", "%s %lu %lu", status, sent_out, sent_err);
	running = 0;
}

static void shell_ended(void)
{
	char text[16];
	int status = 0;

	kill(-shell, SIGKILL);
	waitpid(shell, &status, 0);
	snprintf(text, sizeof(text), "%d",
		 WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	run_ends(text);
	close(shell_in);
	close(shell_out);
	close(shell_err);
	close(shell_status);
	shell_start();
}

static void run(unsigned long seq, const char *text, size_t len)
{
	static char line[2 * REQUEST_MAX];
	size_t n = 0;

	if (running) {
		send_text(seq, "fail", "%d run %lu has not ended", EBUSY, running);
		return;
	}
	running = seq;
	sent_out = sent_err = 0;
	n += sprintf(line, "eval '");
	for (size_t i = 0; i < len && n < sizeof(line) - 64; i++) {
		if (text[i] == '\'')
			n += sprintf(line + n, "'\\''");
		else
			line[n++] = text[i];
	}
	n += sprintf(line + n, "' </dev/null %d>&-\necho $? >&%d\n", SHELL_STATUS_FD,
		     SHELL_STATUS_FD);
	write_all(shell_in, line, n);
}

struct sum {
	unsigned long size;
	uint32_t crc;
};

/* Sends a file's content; false, with errno, where it cannot be read to its end. */
static bool send_content(unsigned long seq, int fd, struct sum *sum)
{
	char data[CHUNK];
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0) {
		send_frame(seq, "data", data, n);
		sum->crc = crc(sum->crc, data, n);
		sum->size += n;
	}
	return n == 0;
}

static void get(unsigned long seq, const char *path)
{
	struct sum sum = { 0, 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !send_content(seq, fd, &sum))
		send_errno(seq, path);
	else
		send_text(seq, "end", "%lu %08x", sum.size, sum.crc);
	if (fd >= 0)
		close(fd);
}

static void many(unsigned long seq, char *patterns)
{
	struct sum sum = { 0, 0 };

	for (char *pattern = strtok(patterns, "\n"); pattern; pattern = strtok(NULL, "\n")) {
		glob_t found;

		if (glob(pattern, 0, NULL, &found))
			continue;
		for (size_t i = 0; i < found.gl_pathc; i++) {
			struct stat status;
			int fd = open(found.gl_pathv[i], O_RDONLY | O_NONBLOCK | O_CLOEXEC);

			if (fd >= 0 && !fstat(fd, &status) && S_ISREG(status.st_mode)) {
				send_text(seq, "file", "%s", found.gl_pathv[i]);
				send_content(seq, fd, &sum);
			}
			if (fd >= 0)
				close(fd);
		}
		globfree(&found);
	}
	send_text(seq, "end", "%lu %08x", sum.size, sum.crc);
}

static void put(unsigned long seq, const char *argument)
{
	unsigned int mode;
	int start = 0;

	if (put_fd >= 0)
		close(put_fd);
	put_fd = -1;
	if (sscanf(argument, "%o %n", &mode, &start) < 1 || !start) {
		send_text(seq, "fail", "%d put wants MODE PATH", EINVAL);
		return;
	}
	snprintf(put_path, sizeof(put_path), "%s", argument + start);
	put_fd = open(put_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (put_fd < 0 || fchmod(put_fd, mode))
		send_errno(seq, put_path);
	else
		send_text(seq, "ok", "%s", "");
}

/* The sum is taken over what the file holds, not over what came in. */
static void put_ends(unsigned long seq)
{
	char data[CHUNK];
	unsigned long size = 0;
	uint32_t sum = 0;
	ssize_t n;

	lseek(put_fd, 0, SEEK_SET);
	while ((n = read(put_fd, data, sizeof(data))) > 0) {
		sum = crc(sum, data, n);
		size += n;
	}
	if (n < 0 || close(put_fd))
		send_errno(seq, put_path);
	else
		send_text(seq, "end", "%lu %08x", size, sum);
	put_fd = -1;
}

static void put_data(unsigned long seq, const char *data, size_t len)
{
	if (put_fd < 0) {
		send_text(seq, "fail", "%d no put is under way", EINVAL);
		return;
	}
	if (!len) {
		put_ends(seq);
		return;
	}
	while (len) {
		ssize_t n = write(put_fd, data, len);

		if (n < 0) {
			send_errno(seq, put_path);
			close(put_fd);
			put_fd = -1;
			return;
		}
		data += n;
		len -= n;
	}
	send_text(seq, "ok", "%s", "");
}

static unsigned long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Proves that the clock runs and that timers fire. */
static void ping(unsigned long seq, const char *kind, const char *text)
{
	const struct timespec wait = { .tv_nsec = 1000000 };
	unsigned long long before = now_ns();

	nanosleep(&wait, NULL);
	send_text(seq, kind, "%llu %llu %s", before, now_ns(), text);
}

static void stir(const char *bytes, size_t len)
{
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;	/* a kernel without it has nothing to stir */
	write_all(fd, bytes, len);
	ioctl(fd, RNDRESEEDCRNG);
	close(fd);
}

static void leave_word(unsigned long seq, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || dprintf(fd, "%s\n", nonce) < 0)
		send_errno(seq, path);
	else
		send_text(seq, "ok", "%s", "");
	if (fd >= 0)
		close(fd);
}

static void serve(unsigned long seq, const char *kind, char *payload, size_t len)
{
	if (!strcmp(kind, "run"))
		run(seq, payload, len);
	else if (!strcmp(kind, "kill"))
		kill(-shell, SIGKILL);	/* shell_ended() answers for the run */
	else if (!strcmp(kind, "ping"))
		ping(seq, "pong", payload);
	else if (!strcmp(kind, "get"))
		get(seq, payload);
	else if (!strcmp(kind, "many"))
		many(seq, payload);
	else if (!strcmp(kind, "put"))
		put(seq, payload);
	else if (!strcmp(kind, "word"))
		leave_word(seq, payload);
	else if (!strcmp(kind, "data"))
		put_data(seq, payload, len);
	else
		send_text(seq, "fail", "%d unknown request %.20s", ENOSYS, kind);
}

/* Serves one frame at `at`; returns the bytes used, 0 where more must come first. */
static size_t take_frame(char *at, size_t have)
{
	char *eol = memchr(at, '\n', have), word[40], kind[16], head[128];
	unsigned long seq;
	size_t len, used;
	unsigned int sum;
	int n;

	if (!eol)
		return have > 200 ? have : 0;
	used = eol + 1 - at;
	*eol = 0;
	if (sscanf(at, "@%39s %lu %15s %zu %x", word, &seq, kind, &len, &sum) != 5 ||
	    len > REQUEST_MAX) {
		send_text(0, "nak", "header");
		return used;
	}
	*eol = '\n';
	if (have < used + len + 1)
		return 0;
	n = snprintf(head, sizeof(head), "%s %lu %s %zu\n", word, seq, kind, len);
	if (crc(crc(0, head, n), eol + 1, len) != sum || eol[1 + len] != '\n') {
		send_text(0, "nak", "sum");
		return used;	/* the length is not to be trusted either */
	}
	eol[1 + len] = 0;
	if (!strcmp(kind, "hello")) {
		strcpy(nonce, word);
		served = seq;
		stir(eol + 1, len);
		ping(seq, "ready", "agent 1");
	} else if (strcmp(word, nonce)) {
		send_text(seq, "fail", "%d this machine's word is another", EPERM);
	} else if (seq <= served) {
		send_text(seq, "dup", "%lu", served);
	} else {
		served = seq;
		serve(seq, kind, eol + 1, len);
	}
	return used + len + 1;
}

static void take_input(void)
{
	static char input[REQUEST_MAX + 512];
	static size_t have;
	size_t at = 0, used;
	ssize_t n = read(tty, input + have, sizeof(input) - have);

	if (n <= 0 && errno != EINTR)
		exit(1);	/* hung up: init starts us again */
	have += n;
	while (at < have) {
		char *start = memchr(input + at, '@', have - at);

		if (!start) {
			at = have;
			break;
		}
		at = start - input;
		used = take_frame(start, have - at);
		if (!used)
			break;
		at += used;
	}
	memmove(input, input + at, have - at);
	have -= at;
	if (have == sizeof(input))
		have = 0;
}

static void take_status(void)
{
	char text[32];
	ssize_t n = read(shell_status, text, sizeof(text) - 1);

	if (n <= 0) {
		shell_ended();
		return;
	}
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	run_ends(text);
}

int main(int argc, char **argv)
{
	struct termios mode;
	int fd;

	if (argc != 2) {
		fprintf(stderr, "usage: agent TTY\n");
		return 2;
	}
	tty = open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty < 0 || tcgetattr(tty, &mode)) {
		perror(argv[1]);
		return 1;
	}
	cfmakeraw(&mode);
	tcsetattr(tty, TCSANOW, &mode);
	signal(SIGPIPE, SIG_IGN);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		write_all(fd, "-1000", 5);
		close(fd);
	}
	crc_setup();
	shell_start();
	send_text(0, "ready", "0 0 agent 1");
	for (;;) {
		struct pollfd polls[] = {
			{ .fd = tty, .events = POLLIN },
			{ .fd = shell_out, .events = POLLIN },
			{ .fd = shell_err, .events = POLLIN },
			{ .fd = shell_status, .events = POLLIN },
		};

		if (poll(polls, 4, -1) < 0)
			continue;
		if (polls[0].revents)
			take_input();
		if (polls[1].revents & POLLIN)
			forward(shell_out, "out", 1);
		if (polls[2].revents & POLLIN)
			forward(shell_err, "err", 1);
		if (polls[3].revents)
			take_status();
	}
}
