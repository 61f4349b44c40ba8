// SPDX-License-Identifier: Apache-2.0
//
// pause is the first process of a pod's sandbox: it holds the namespaces that the containers share, and is their
// init where they share a process namespace, so it reaps what is left to it. It does so until SIGINT or SIGTERM.
// It asks the kernel directly and needs no C library: a few kilobytes on disk, two pages in memory, asleep between
// signals. Linux on amd64 and arm64.

#include <asm/unistd.h>
#include <linux/signal.h>
#include <linux/wait.h>

#if defined(__x86_64__)
static long call(long n, long a, long b, long c, long d) {
  register long r10 __asm__("r10") = d;
  long ret;
  __asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return ret;
}
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n and $-16,%rsp\n call run\n hlt\n");
#elif defined(__aarch64__)
static long call(long n, long a, long b, long c, long d) {
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
}
__asm__(".globl _start\n_start:\n mov x29,#0\n bl run\n");
#else
#error "pause knows amd64 and arm64"
#endif

__attribute__((noreturn, used)) void run(void) {
  // Signals are blocked and waited for in turn, so none is lost between two looks. An init has no default actions.
  const unsigned long wanted = 1UL << (SIGINT - 1) | 1UL << (SIGTERM - 1) | 1UL << (SIGCHLD - 1);
  call(__NR_rt_sigprocmask, SIG_BLOCK, (long)&wanted, 0, sizeof wanted);
  for (;;) {
    // Children may have ended before the mask was set, and many ends may make one signal: reap until none is left.
    while (call(__NR_wait4, -1, 0, WNOHANG, 0) > 0) {
    }
    long sig = call(__NR_rt_sigtimedwait, (long)&wanted, 0, 0, sizeof wanted);
    if (sig == SIGINT || sig == SIGTERM) {
      call(__NR_exit_group, 0, 0, 0, 0);
    }
  }
}
