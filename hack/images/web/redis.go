// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// client speaks RESP 2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), one connection a command: enough for a guestbook,
// and it follows redis wherever its Service leads.
type client struct {
	addr     string
	password string
}

// do sends a command and returns the reply: string, int64, []string or nil.
func (c *client) do(ctx context.Context, args ...string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
	}
	in := bufio.NewReader(conn)
	if c.password != "" {
		if _, err := roundTrip(conn, in, "AUTH", c.password); err != nil {
			return nil, fmt.Errorf("redis: log in: %w", err)
		}
	}
	reply, err := roundTrip(conn, in, args...)
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", args[0], err)
	}
	return reply, nil
}

func roundTrip(out io.Writer, in *bufio.Reader, args ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return nil, err
	}
	return readReply(in)
}

func readReply(in *bufio.Reader) (any, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("empty reply")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return nil, err
		}
		data := make([]byte, n+2)
		if _, err := io.ReadFull(in, data); err != nil {
			return nil, err
		}
		return string(data[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return nil, err
		}
		list := make([]string, 0, n)
		for range n {
			item, err := readReply(in)
			if err != nil {
				return nil, err
			}
			list = append(list, fmt.Sprint(item))
		}
		return list, nil
	}
	return nil, fmt.Errorf("reply begins with %q", kind)
}
