// Stands for what the bundle leaves out, because nothing of ours reaches the code that uses it: thread-stream, sonic-boom
// and on-exit-leak-free (pino's transports and files), net, crypto and assert (dbus-next's own transport), xml2js
// (dbus-next's servers and proxies; its MessageBus makes a Builder that we never use).
module.exports = class LeftOut {
  static Builder = class Builder {}

  constructor() {
    throw new Error('This package is not part of the bundle')
  }
}
