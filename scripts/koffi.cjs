// Stands for koffi in the bundle, whose own code takes most of 10 ms in each thread to find its native part, and to mark as
// deprecated what we do not use. There is one for each architecture, for the C library of Debian.
module.exports = require(`@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`)
