"""A connection of the load client, with TLS or without, whose errors keep their errno."""

from __future__ import annotations

import asyncio
import socket
import ssl

RECV_BYTES = 65536


class Channel:
    """One connection; tls: None for plain HTTP."""

    def __init__(self, family: int, tls: ssl.SSLContext | None) -> None:
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        # The last bytes of a large request must not wait for an ACK.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls and tls.wrap_bio(self._incoming, self._outgoing)

    async def shake_hands(self) -> None:
        """TLS's handshake, if there is one."""
        while self._tls:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._read_more()
            else:
                return await self._flush()

    def send(self, data: bytes) -> memoryview:
        """Hand bytes to the kernel; returns those that it did not take, for send_rest()."""
        if self._tls:
            self._tls.write(data)
            data = self._outgoing.read()
        return memoryview(data)[self.sock.send(data) :]

    async def send_rest(self, rest: memoryview) -> None:
        """Hand the rest to the kernel, once it has room."""
        await self._loop.sock_sendall(self.sock, rest)

    async def receive(self) -> bytes:
        """The next bytes; none at the end."""
        while self._tls:
            try:
                return self._tls.read(RECV_BYTES)
            except ssl.SSLWantReadError:
                await self._read_more()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
        return await self._loop.sock_recv(self.sock, RECV_BYTES)

    def is_idle(self) -> bool:
        """True if the server has neither closed the connection nor sent unasked bytes."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._loop.sock_sendall(self.sock, data)

    async def _read_more(self) -> None:
        if data := await self._loop.sock_recv(self.sock, RECV_BYTES):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
