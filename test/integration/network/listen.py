"""Prints the marks of frames that reach this host, one a line, until it is stopped."""
import re
import socket

s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0003))
s.settimeout(300)
print("listening", flush=True)
while True:
    for mark in re.findall(rb"CADDIS-([a-z0-9-]+)\.", s.recv(65535)):
        print(mark.decode(), flush=True)
