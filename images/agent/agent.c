// SPDX-License-Identifier: MIT
/*
 * agent - answers the harness on a serial line of its own.
 *
 * usage: agent TTY
 *
 * One frame, either way:
 *
 *     @NONCE SEQ NUMBER KIND LEN SUM CHECK\n PAYLOAD \n
 *
 * NONCE is the machine's nonce (hex), SEQ counts the harness's requests, NUMBER counts the frames
 * of the answer to one request from 1 on (0: the frame belongs to no answer, or is a request),
 * LEN is the payload's length in bytes, SUM the CRC-32 (IEEE, as zlib's) of all between "@" and the
 * space before SUM and of the payload, in hex, and CHECK the low 16 bits of that of all between "@"
 * and the space before CHECK. The last newline is for people who read a log; nobody needs it.
 * Each byte costs the emulated line time: no field is longer than it must be.
 *
 * The line may lose, double or change bytes. A frame whose sums do not fit has no effect, and the
 * next one is looked for right behind its "@". Nothing is said about it: whoever misses an answer
 * asks for it again (`again`). A request that was served is not served again.
 *
 * Requests:  hello BYTES      takes NONCE as the machine's nonce, stirs BYTES into the kernel's
 *                             random pool (clones of one template share its state) -> ready,
 *                             with the same as pong, and "unstirred" where that failed
 *            ping BYTES       -> pong "BEFORE AFTER BYTES": CLOCK_MONOTONIC in ns around a 1 ms sleep
 *            run  TEXT        evaluates TEXT in a lasting /bin/sh -> out*, err*,
 *                             exit "STATUS OUT ERR" (bytes of each that were sent)
 *            get  PATH        -> data*, end "SIZE CRC"
 *            many PATTERNS    the files that match, one pattern a line -> (file PATH, data*)*,
 *                             end "SIZE CRC" over all contents; what cannot be read is left out
 *            put  "MODE PATH" -> ok; then data frames, each -> ok; an empty one ends it -> end "SIZE CRC"
 *            nonce PATH       writes the machine's nonce there, for those who ask over ssh -> ok
 * Anything that cannot be done -> fail "ERRNO words".
 *
 * About a request SEQ, not requests themselves:
 *            again NUMBER     -> the frames of its answer from NUMBER on once more, or one without
 *                             a number: missing (it has not arrived: send it again), busy (no such
 *                             frame yet), lost "COUNT" (that frame is not kept any more, the
 *                             last ones of COUNT are)
 *            kill NUMBER      kills the shell and all it started, where it runs SEQ; then as again
 * Without being asked: ready (SEQ 0) when it starts; out and err of processes in the background,
 * as more frames of the last run.
 */
#define _GNU_SOURCE
/*
 * Every instruction costs, for a clone has yet to translate it. And once a process has used the
 * floating-point registers, whose state is part of how QEMU translates, it translates the kernel
 * anew for that process: so neither this compiler nor glibc's memcpy() and memchr() get to use them
 * on the way of an ordinary request, nor are scanf() and printf() there.
 */
#pragma GCC optimize("no-tree-loop-distribute-patterns")
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

#pragma GCC target("general-regs-only")

#define CHUNK 2048		/* payload of one out, err or data frame */
#define HEAD_MAX 160		/* bytes of a header, more than any has */
#define KEPT 128		/* frames of an answer that can be had again */
#define REQUEST_MAX (256 * 1024)
#define SHELL_STATUS_FD "9"	/* where the shell writes the exit status */

static int tty;
static char nonce[40] = "0";
static unsigned long served;	/* last SEQ that was served */
static bool running;		/* whether the run has not ended */
static unsigned long sent_out, sent_err;	/* bytes of its output so far */

/* The frames of an answer; what was sent is kept, as it may be asked for again. */
struct answer {
	unsigned long seq, count;
	struct {
		size_t size;
		char frame[HEAD_MAX + CHUNK + 1];
	} kept[KEPT];
};

static struct answer of_run;	/* to the last run; it goes on while other requests are answered */
static struct answer of_rest;	/* to the last request that was no run */

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

/* These add to a text and return its new end; none ends it with a zero. */

static char *add_bytes(char *to, const char *bytes, size_t len)
{
	while (len--)
		*to++ = *bytes++;
	return to;
}

static char *add(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

/* At least so many digits. */
static char *add_decimal(char *to, unsigned long number, int least)
{
	char digits[20];
	int n = 0;

	while (number || n < least) {
		digits[n++] = '0' + number % 10;
		number /= 10;
	}
	while (n--)
		*to++ = digits[n];
	return to;
}

static char *add_number(char *to, unsigned long number)
{
	return add_decimal(to, number, 1);
}

static char *add_hex(char *to, uint32_t number, int digits)
{
	while (digits--)
		*to++ = "0123456789abcdef"[number >> (4 * digits) & 15];
	return to;
}

/* Makes a frame; returns its bytes. */
static size_t compose(char *frame, unsigned long seq, unsigned long number, const char *kind,
		      const void *payload, size_t len)
{
	char *head = frame + 1, *at = head;

	*frame = '@';
	at = add(add(at, nonce), " ");
	at = add(add_number(at, seq), " ");
	at = add(add_number(at, number), " ");
	at = add(add(at, kind), " ");
	at = add_number(at, len);
	at = add_hex(add(at, " "), crc(crc(0, head, at - head), payload, len), 8);
	at = add_hex(add(at, " "), crc(0, head, at - head) & 0xffff, 4);
	at = add_bytes(add(at, "\n"), payload, len);
	return add(at, "\n") - frame;
}

static void send_frame(struct answer *to, const char *kind, const void *payload, size_t len)
{
	unsigned int slot = to->count++ % KEPT;

	if (len > CHUNK)
		len = CHUNK;
	to->kept[slot].size =
		compose(to->kept[slot].frame, to->seq, to->count, kind, payload, len);
	write_all(tty, to->kept[slot].frame, to->kept[slot].size);
}

/* Sends a frame that is no part of an answer. */
static void send_note(unsigned long seq, const char *kind, const char *text)
{
	char frame[HEAD_MAX + 64];

	write_all(tty, frame, compose(frame, seq, 0, kind, text, strlen(text)));
}

static void send_text(struct answer *to, const char *kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void send_text(struct answer *to, const char *kind, const char *format, ...)
{
	char text[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	send_frame(to, kind, text, n < (int)sizeof(text) ? n : (int)sizeof(text) - 1);
}

static void send_errno(const char *what)
{
	int error = errno;

	send_text(&of_rest, "fail", "%d %s: %s", error, what, strerror(error));
}

static void begin(struct answer *answer, unsigned long seq)
{
	answer->seq = seq;
	answer->count = 0;
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
		dup2(status[1], *SHELL_STATUS_FD - '0');
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
		send_frame(&of_run, kind, data, n);
		*(fd == shell_out ? &sent_out : &sent_err) += n;
	}
	return n != 0;	/* false at end of file */
}

static void run_ends(const char *status)
{
	char text[96], *at = text;

	/* Whatever was written before the status is in the pipes now: at most a pipe's capacity. */
	forward(shell_out, "out", 64);
	forward(shell_err, "err", 64);
	if (running) {
		at = add(add(at, status), " ");
		at = add(add_number(at, sent_out), " ");
		at = add_number(at, sent_err);
		send_frame(&of_run, "exit", text, at - text);
	}
	running = false;
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
	char *at = line;

	if (running) {
		begin(&of_rest, seq);
		send_text(&of_rest, "fail", "%d run %lu has not ended", EBUSY, of_run.seq);
		return;
	}
	begin(&of_run, seq);
	running = true;
	sent_out = sent_err = 0;
	at = add(at, "eval '");
	for (size_t i = 0; i < len && at < line + sizeof(line) - 64; i++) {
		if (text[i] == '\'')
			at = add(at, "'\\''");
		else
			*at++ = text[i];
	}
	at = add(at, "' </dev/null " SHELL_STATUS_FD ">&-\necho $? >&" SHELL_STATUS_FD "\n");
	write_all(shell_in, line, at - line);
}

struct sum {
	unsigned long size;
	uint32_t crc;
};

/* Sends a file's content; false, with errno, where it cannot be read to its end. */
static bool send_content(int fd, struct sum *sum)
{
	char data[CHUNK];
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0) {
		send_frame(&of_rest, "data", data, n);
		sum->crc = crc(sum->crc, data, n);
		sum->size += n;
	}
	return n == 0;
}

static void get(const char *path)
{
	struct sum sum = { 0, 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !send_content(fd, &sum))
		send_errno(path);
	else
		send_text(&of_rest, "end", "%lu %08x", sum.size, sum.crc);
	if (fd >= 0)
		close(fd);
}

static void many(char *patterns)
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
				send_text(&of_rest, "file", "%s", found.gl_pathv[i]);
				send_content(fd, &sum);
			}
			if (fd >= 0)
				close(fd);
		}
		globfree(&found);
	}
	send_text(&of_rest, "end", "%lu %08x", sum.size, sum.crc);
}

static void put(const char *argument)
{
	unsigned int mode;
	int start = 0;

	if (put_fd >= 0)
		close(put_fd);
	put_fd = -1;
	if (sscanf(argument, "%o %n", &mode, &start) < 1 || !start) {
		send_text(&of_rest, "fail", "%d put wants MODE PATH", EINVAL);
		return;
	}
	snprintf(put_path, sizeof(put_path), "%s", argument + start);
	put_fd = open(put_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (put_fd < 0 || fchmod(put_fd, mode))
		send_errno(put_path);
	else
		send_text(&of_rest, "ok", "%s", "");
}

/* The sum is taken over what the file holds, not over what came in. */
static void put_ends(void)
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
		send_errno(put_path);
	else
		send_text(&of_rest, "end", "%lu %08x", size, sum);
	put_fd = -1;
}

static void put_data(const char *data, size_t len)
{
	if (put_fd < 0) {
		send_text(&of_rest, "fail", "%d no put is under way", EINVAL);
		return;
	}
	if (!len) {
		put_ends();
		return;
	}
	while (len) {
		ssize_t n = write(put_fd, data, len);

		if (n < 0) {
			send_errno(put_path);
			close(put_fd);
			put_fd = -1;
			return;
		}
		data += n;
		len -= n;
	}
	send_text(&of_rest, "ok", "%s", "");
}

/* Adds what the clock says, in ns. */
static char *add_now(char *to)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return add_decimal(add_number(to, t.tv_sec), t.tv_nsec, 9);
}

/* Proves that the clock runs and that timers fire. */
static void ping(const char *kind, const char *text, size_t len)
{
	const struct timespec wait = { .tv_nsec = 1000000 };
	char answer[CHUNK], *at = add_now(answer);

	nanosleep(&wait, NULL);
	at = add(add_now(add(at, " ")), " ");
	at = add_bytes(at, text, len < 512 ? len : 512);
	send_frame(&of_rest, kind, answer, at - answer);
}

/*
 * Whether the bytes reach what /dev/urandom gives next. Counted as entropy they do at once where
 * the pool was not ready yet, as in a 5.0 kernel without a source of its own; else a reseed does it.
 */
static bool stir(const char *bytes, size_t len)
{
	struct {
		struct rand_pool_info info;
		char bytes[256];
	} pool;
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return true;	/* a kernel without it has nothing to stir */
	if (len > sizeof(pool.bytes))
		len = sizeof(pool.bytes);
	pool.info.entropy_count = 8 * len;
	pool.info.buf_size = len;
	add_bytes(pool.bytes, bytes, len);
	done = !ioctl(fd, RNDADDENTROPY, &pool) && !ioctl(fd, RNDRESEEDCRNG);
	close(fd);
	return done;
}

static void leave_nonce(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || dprintf(fd, "%s\n", nonce) < 0)
		send_errno(path);
	else
		send_text(&of_rest, "ok", "%s", "");
	if (fd >= 0)
		close(fd);
}

static void serve(unsigned long seq, const char *kind, char *payload, size_t len)
{
	if (!strcmp(kind, "run")) {
		run(seq, payload, len);
		return;
	}
	begin(&of_rest, seq);
	if (!strcmp(kind, "ping"))
		ping("pong", payload, len);
	else if (!strcmp(kind, "get"))
		get(payload);
	else if (!strcmp(kind, "many"))
		many(payload);
	else if (!strcmp(kind, "put"))
		put(payload);
	else if (!strcmp(kind, "nonce"))
		leave_nonce(payload);
	else if (!strcmp(kind, "data"))
		put_data(payload, len);
	else
		send_text(&of_rest, "fail", "%d unknown request %.20s", ENOSYS, kind);
}

static void hello(unsigned long seq, const char *word, const char *bytes, size_t len)
{
	const char *said;

	strcpy(nonce, word);
	served = seq;
	begin(&of_run, 0);
	begin(&of_rest, seq);
	said = stir(bytes, len) ? "agent 2" : "agent 2 unstirred";
	ping("ready", said, strlen(said));
}

static void send_lost(unsigned long seq, unsigned long count)
{
	char text[24];

	*add_number(text, count) = 0;
	send_note(seq, "lost", text);
}

/* Sends the answer to a request from its frame `number` on once more, or says why there is none. */
static void again(unsigned long seq, unsigned long number)
{
	struct answer *answer = of_run.seq == seq ? &of_run : &of_rest;

	if (seq > served)
		send_note(seq, "missing", "");
	else if (answer->seq != seq || !number || number + KEPT <= answer->count)
		send_lost(seq, answer->seq == seq ? answer->count : 0);
	else if (number > answer->count)
		send_note(seq, "busy", "");
	else
		for (; number <= answer->count; number++)
			write_all(tty, answer->kept[(number - 1) % KEPT].frame,
				  answer->kept[(number - 1) % KEPT].size);
}

static void take_request(unsigned long seq, const char *word, const char *kind, char *payload,
			 size_t len)
{
	bool same = !strcmp(word, nonce);

	if (!strcmp(kind, "hello") && !(same && seq <= served)) {
		hello(seq, word, payload, len);
	} else if (!same) {
		send_note(seq, "stranger", "");
	} else if (!strcmp(kind, "again")) {
		again(seq, strtoul(payload, NULL, 10));
	} else if (!strcmp(kind, "kill")) {
		if (running && of_run.seq == seq)
			kill(-shell, SIGKILL);	/* shell_ended() answers for the run */
		again(seq, strtoul(payload, NULL, 10));
	} else if (seq <= served) {
		again(seq, 1);
	} else {
		served = seq;
		serve(seq, kind, payload, len);
	}
}

struct request {
	char word[40], kind[16];
	unsigned long seq;
	char *payload;
	size_t len, used;	/* bytes of the payload, and of all */
};

enum found { DAMAGED, PARTIAL, WHOLE };

/* These read what stands at `*at` and go on behind it; false where it is not that. */

static bool take_char(char **at, char wanted)
{
	return *(*at)++ == wanted;
}

static bool take_word(char **at, char *to, size_t size)
{
	size_t n = 0;

	while (**at > ' ' && n < size - 1)
		to[n++] = *(*at)++;
	to[n] = 0;
	return n;
}

static bool take_number(char **at, unsigned long *to)
{
	int n = 0;

	for (*to = 0; **at >= '0' && **at <= '9' && n < 10; n++)
		*to = *to * 10 + (*(*at)++ - '0');
	return n;
}

static bool take_hex(char **at, int digits, uint32_t *to)
{
	for (*to = 0; digits--; (*at)++)
		if (**at >= '0' && **at <= '9')
			*to = *to << 4 | (**at - '0');
		else if (**at >= 'a' && **at <= 'f')
			*to = *to << 4 | (**at - 'a' + 10);
		else
			return false;
	return true;
}

/* Where the header that begins at `at` ends, a newline; NULL where it has none. */
static char *head_end(char *at, size_t have)
{
	for (size_t i = 0; i < have && i < HEAD_MAX; i++)
		if (at[i] == '\n')
			return at + i;
	return NULL;
}

/* Reads one frame at `at`, which begins with "@". */
static enum found read_frame(char *at, size_t have, struct request *request)
{
	char *head = at + 1, *word = head, *summed, *checked;
	uint32_t sum, check;
	unsigned long number, len;

	if (!head_end(at, have))
		return have < HEAD_MAX ? PARTIAL : DAMAGED;
	if (!take_word(&word, request->word, sizeof(request->word)) || !take_char(&word, ' ') ||
	    !take_number(&word, &request->seq) || !take_char(&word, ' ') ||
	    !take_number(&word, &number) || !take_char(&word, ' ') ||
	    !take_word(&word, request->kind, sizeof(request->kind)) || !take_char(&word, ' ') ||
	    !take_number(&word, &len))
		return DAMAGED;
	summed = word;
	if (!take_char(&word, ' ') || !take_hex(&word, 8, &sum))
		return DAMAGED;
	checked = word;
	if (!take_char(&word, ' ') || !take_hex(&word, 4, &check) || !take_char(&word, '\n') ||
	    (crc(0, head, checked - head) & 0xffff) != check || len > REQUEST_MAX)
		return DAMAGED;
	request->payload = word;
	request->len = len;
	request->used = word - at + len;
	if (have < request->used)
		return PARTIAL;
	return crc(crc(0, head, summed - head), word, len) == sum ? WHOLE : DAMAGED;
}

static char input[REQUEST_MAX + 512];
static size_t have;		/* bytes of it that no frame was made of yet */

/*
 * Where a question about a request ends the input, behind a frame that is not whole: what the
 * frame lacks will not come, for nothing is asked while a request is on its way.
 */
static char *question_behind(char *partial)
{
	char *end = input + have, *at = end - partial > HEAD_MAX ? end - HEAD_MAX : partial + 1;
	struct request request;

	while ((at = memchr(at, '@', end - at))) {
		if (read_frame(at, end - at, &request) == WHOLE && strcmp(request.kind, "data"))
			return at;
		at++;
	}
	return NULL;
}

static void take_frames(void)
{
	struct request request;
	char *at = input, *end = input + have, *question, after;

	while (at < end) {
		if (*at != '@') {
			at++;
			continue;
		}
		switch (read_frame(at, end - at, &request)) {
		case DAMAGED:
			at++;
			continue;
		case PARTIAL:
			question = question_behind(at);
			if (question) {
				at = question;
				continue;
			}
			memmove(input, at, end - at);
			have = end - at;
			return;
		case WHOLE:
			at += request.used;
			after = *at;
			*at = 0;	/* for those who take the payload for a string */
			take_request(request.seq, request.word, request.kind, request.payload,
				     request.len);
			*at = after;
		}
	}
	have = 0;
}

static void take_input(void)
{
	/* One byte stays free, for the zero behind a payload. */
	ssize_t n = read(tty, input + have, sizeof(input) - 1 - have);

	if (n <= 0 && errno != EINTR)
		exit(1);	/* hung up: init starts us again */
	if (n > 0)
		have += n;
	take_frames();
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
	/*
	 * What came before was edited as a terminal's. Nothing waits for what is still to be
	 * echoed: after a ^S that never ends.
	 */
	tcflush(tty, TCIOFLUSH);
	tcsetattr(tty, TCSANOW, &mode);
	tcflush(tty, TCIFLUSH);
	signal(SIGPIPE, SIG_IGN);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		write_all(fd, "-1000", 5);
		close(fd);
	}
	crc_setup();
	shell_start();
	send_note(0, "ready", "0 0 agent 2");
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
