// How a program runs in a process: with its arguments, until it gives an exit code.

/** Runs `main` with the arguments of this process; what it gives is the exit code. */
export function launch(main: (args: readonly string[]) => Promise<number>): void {
  // Stays where nothing is left to wait for although `main` has not ended: Node's own code for that.
  process.exitCode = 13
  main(process.argv.slice(2)).then(
    (code) => {
      process.exitCode = code
    },
    (thrown: unknown) => {
      // No error of a command, those have been printed: it ends the process, with its stack.
      setImmediate(() => {
        throw thrown
      })
    },
  )
}
