/** The first number of Node's version. */
export const nodeMajor = Number(process.versions.node.split('.')[0])
