#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "worker.h"

/* A hot-plugged NIC was there after 0.5 s (facts/vm.md); a loaded host is slower. */
#define NIC_WAIT_MS 15000

struct nic {
	char mac[32], address[64], gateway[32], mtu[16], dns[128];
};

static int request(int q, unsigned long what, struct ifreq *r) { return ioctl(q, (int)what, r); }

static int bring_up(int q, const char *name)
{
	struct ifreq r = { 0 };

	snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
	if (request(q, SIOCGIFFLAGS, &r))
		return -1;
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	return request(q, SIOCSIFFLAGS, &r);
}

void net_loopback(void)
{
	int q = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (q < 0)
		return;
	bring_up(q, "lo");
	close(q);
}

static void parse(struct nic *n, const char *text)
{
	struct { const char *key; char *to; size_t size; } fields[] = {
		{ "mac=", n->mac, sizeof n->mac }, { "address=", n->address, sizeof n->address }, { "gateway=", n->gateway, sizeof n->gateway },
		{ "mtu=", n->mtu, sizeof n->mtu }, { "dns=", n->dns, sizeof n->dns },
	};

	memset(n, 0, sizeof *n);
	for (const char *p = text; *p; p += strspn(p, " ")) {
		size_t length = strcspn(p, " ");

		for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
			size_t k = strlen(fields[i].key);

			if (length > k && !strncmp(p, fields[i].key, k) && length - k < fields[i].size)
				memcpy(fields[i].to, p + k, length - k);
		}
		p += length;
	}
}

static int find_nic(const char *mac, char name[IFNAMSIZ])
{
	DIR *d = opendir("/sys/class/net");
	struct dirent *e;
	int found = 0;

	if (!d)
		return 0;
	while (!found && (e = readdir(d))) {
		char path[320], have[64];

		if (e->d_name[0] == '.' || strlen(e->d_name) >= IFNAMSIZ)
			continue;
		snprintf(path, sizeof path, "/sys/class/net/%s/address", e->d_name);
		found = file_line(path, have, sizeof have) > 0 && !strcasecmp(have, mac);
		if (found)
			strcpy(name, e->d_name);
	}
	closedir(d);
	return found;
}

static int set_address(int q, unsigned long what, const char *name, in_addr_t address)
{
	struct ifreq r = { 0 };
	struct sockaddr_in *a = (struct sockaddr_in *)(void *)&r.ifr_addr;

	snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = address;
	return request(q, what, &r);
}

static int set_gateway(int q, const char *gateway)
{
	struct rtentry r = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct sockaddr_in *to = (struct sockaddr_in *)(void *)&r.rt_gateway;

	r.rt_dst.sa_family = r.rt_genmask.sa_family = AF_INET;
	to->sin_family = AF_INET;
	if (inet_pton(AF_INET, gateway, &to->sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	return ioctl(q, SIOCADDRT, &r) && errno != EEXIST ? -1 : 0;
}

static int configure(int q, const struct nic *n, const char *name)
{
	char address[64], *slash;
	struct in_addr a;
	long bits = 32;

	snprintf(address, sizeof address, "%s", n->address);
	if ((slash = strchr(address, '/'))) {
		*slash = 0;
		bits = strtol(slash + 1, NULL, 10);
	}
	if (inet_pton(AF_INET, address, &a) != 1 || bits < 0 || bits > 32) {
		errno = EINVAL;
		return -1;
	}
	if (n->mtu[0]) {
		struct ifreq r = { 0 };

		snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
		r.ifr_mtu = atoi(n->mtu);
		if (request(q, SIOCSIFMTU, &r))
			return -1;
	}
	if (set_address(q, SIOCSIFADDR, name, a.s_addr) || set_address(q, SIOCSIFNETMASK, name, bits ? htonl(~0u << (32 - bits)) : 0) || bring_up(q, name))
		return -1;
	return n->gateway[0] ? set_gateway(q, n->gateway) : 0;
}

static void write_resolver(const char *dns)
{
	char text[512] = "", one[128];

	for (const char *p = dns; *p; p += strspn(p, ",")) {
		size_t length = strcspn(p, ","), used = strlen(text);

		snprintf(one, sizeof one, "%.*s", (int)length, p);
		snprintf(text + used, sizeof text - used, "nameserver %s\n", one);
		p += length;
	}
	/* On many systems a link into /run, where nothing is. */
	unlink("/etc/resolv.conf");
	file_put("/etc/resolv.conf", text, strlen(text), 0644);
}

int net_setup(struct job *j, const char *text)
{
	int64_t until = clock_ms() + NIC_WAIT_MS;
	char name[IFNAMSIZ];
	struct nic n;
	int q, failed;

	parse(&n, text);
	while (!find_nic(n.mac, name)) {
		if (clock_ms() > until) {
			errno = ENODEV;
			return job_failed(j, "network interface", text);
		}
		clock_sleep_ms(10);
	}
	q = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (q < 0)
		return job_failed(j, "network interface", text);
	failed = configure(q, &n, name);
	if (failed)
		job_failed(j, "network interface", text);
	close(q);
	if (n.dns[0])
		write_resolver(n.dns);
	return failed;
}
