// Stands for packages that the bundle leaves out, because nothing of ours reaches the code that uses them: thread-stream
// (pino's transports) and xml2js (dbus-next's own servers and proxies; its MessageBus makes a Builder that we never use).
module.exports = class LeftOut {
  static Builder = class Builder {}

  constructor() {
    throw new Error('This package is not part of the bundle')
  }
}
