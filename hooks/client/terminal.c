#define _GNU_SOURCE
#include "terminal.h"

#include <unistd.h>

void terminal_measure(struct terminal *t)
{
	struct winsize size;

	if (t->is_terminal && !ioctl(STDIN_FILENO, TIOCGWINSZ, &size))
		t->size = size;
}

void terminal_look(struct terminal *t)
{
	*t = (struct terminal){ 0 };
	t->is_terminal = !tcgetattr(STDIN_FILENO, &t->normal) && isatty(STDOUT_FILENO);
	terminal_measure(t);
}

void terminal_raw(struct terminal *t)
{
	struct termios raw = t->normal;
	pid_t group;

	if (!t->is_terminal || ((group = tcgetpgrp(STDIN_FILENO)) >= 0 && group != getpgrp()))
		return;
	raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON | IXOFF | IXANY);
	raw.c_oflag &= ~(tcflag_t)OPOST;
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	t->raw = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

void terminal_restore(struct terminal *t)
{
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->normal);
	t->raw = 0;
}
