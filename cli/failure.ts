/** Why the program ends with status 1; the message is all that the user is told. */
export class Failure extends Error {
  override readonly name = 'Failure'
}
