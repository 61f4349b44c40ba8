// SPDX-License-Identifier: Apache-2.0

// Command toolbox is what the containers of tests run: one static program with a few verbs.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	verb, args := "wait", os.Args[1:]
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "wait": // until told to end
		wait()
	case "say": // the words, one a line, to stdout, and to stderr those that begin with "err"
		for _, w := range args {
			if strings.HasPrefix(w, "err") {
				fmt.Fprintln(os.Stderr, w)
			} else {
				fmt.Println(w)
			}
		}
	case "flood": // lines of 100 bytes, the number given, then wait
		n, err := strconv.Atoi(args[0])
		check(err)
		for i := range n {
			fmt.Printf("%099d\n", i)
		}
		wait()
	case "drip": // a line every 50 ms until told to end
		go func() {
			for i := 0; ; i++ {
				fmt.Println("line", i)
				time.Sleep(50 * time.Millisecond)
			}
		}()
		wait()
	case "cat": // stdin to stdout
		_, err := io.Copy(os.Stdout, os.Stdin)
		check(err)
	case "exit":
		n, err := strconv.Atoi(args[0])
		check(err)
		os.Exit(n)
	case "echo": // serve TCP on the address, and answer each line with itself in capitals
		l, err := net.Listen("tcp", args[0])
		check(err)
		fmt.Println("serving")
		for {
			c, err := l.Accept()
			check(err)
			go func() {
				defer c.Close()
				s := bufio.NewScanner(c)
				for s.Scan() {
					fmt.Fprintln(c, strings.ToUpper(s.Text()))
				}
			}()
		}
	case "burn": // a processor, until told to end
		go func() {
			for i := 0; ; i++ {
				_ = i
			}
		}()
		wait()
	default:
		check(fmt.Errorf("unknown verb %q", verb))
	}
}

func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	<-c
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "toolbox:", err)
		os.Exit(1)
	}
}
