/*
 * Preloaded into user-mode Linux where the host's processors have more state than it knows of (AMX tiles). Its kernel sets a
 * guest process's extended state with a buffer of the size it was built for; the host takes the whole state or nothing
 * (ptrace(2), PTRACE_SETREGSET with NT_X86_XSTATE), and the guest ends before its first process runs. Here the rest of the
 * state, which no guest program has asked for, is put behind what user-mode Linux gives.
 */

#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

/* User-mode Linux is one thread. */
static unsigned char whole_state[65536];

static long set_whole_state(pid_t pid, const struct iovec *given)
{
    struct iovec whole = { whole_state, sizeof whole_state };

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) < 0)
        return -1;
    if (given->iov_len >= whole.iov_len)
        return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, given);
    memcpy(whole_state, given->iov_base, given->iov_len);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

/* The library's function returns the word that the system call writes. */
static long peek(long request, pid_t pid, void *address)
{
    long word = -1;

    if (syscall(SYS_ptrace, request, pid, address, &word) == 0)
        errno = 0;
    return word;
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    pid_t pid;
    void *address, *data;

    va_start(arguments, request);
    pid = va_arg(arguments, pid_t);
    address = va_arg(arguments, void *);
    data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
        return set_whole_state(pid, data);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER)
        return peek(request, pid, address);
    return syscall(SYS_ptrace, request, pid, address, data);
}
