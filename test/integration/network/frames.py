"""Sends marked Ethernet frames out of a machine: right and forged ones. Arguments: interface, own address, another address. Needs root."""
import socket
import struct
import sys

interface, own, other = sys.argv[1:4]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((interface, 0))
mac = s.getsockname()[4]
forged = bytes([0x52, 0x54, 0xDE, 0xAD, 0xBE, 0xEF])
everyone = b"\xff" * 6


def ip(source, mark):
    payload = struct.pack("!HHHH", 4000, 4000, 8 + len(mark), 0) + mark
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0,
                       socket.inet_aton(source), socket.inet_aton("255.255.255.255"))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:] + payload


def arp(sender_mac, sender, mark):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, sender_mac, socket.inet_aton(sender),
                       everyone, socket.inet_aton(sender)) + mark


def ip6(mark):
    return struct.pack("!IHBB", 6 << 28, len(mark), 59, 64) + socket.inet_pton(socket.AF_INET6, "fe80::dead") + \
        socket.inet_pton(socket.AF_INET6, "ff02::1") + mark


def frame(source, kind, payload):
    return everyone + source + struct.pack("!H", kind) + payload


def marked(name):
    return ("CADDIS-%s." % name).encode()


frames = [
    frame(mac, 0x0800, ip(own, marked("right-ip"))),
    frame(mac, 0x0806, arp(mac, own, marked("right-arp"))),
    frame(mac, 0x0800, ip(other, marked("forged-ip"))),
    frame(forged, 0x0800, ip(own, marked("forged-mac"))),
    frame(mac, 0x0806, arp(mac, other, marked("forged-arp"))),
    frame(mac, 0x0806, arp(forged, own, marked("forged-arp-mac"))),
    frame(mac, 0x86DD, ip6(marked("ipv6"))),
    frame(mac, 0x8100, struct.pack("!HH", 5, 0x0800) + ip(other, marked("vlan"))),
]
for _ in range(5):
    for one in frames:
        s.send(one)
print("sent")
