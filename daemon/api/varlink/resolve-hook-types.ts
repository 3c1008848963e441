import { integers, strings } from './fields.ts'
import { field, integer, maybe, object, string, structure, type Field, type Fields, type Type } from './schema.ts'

const resourceKey = structure('ResourceKey', 'What a record is found by.', {
  class: maybe(integer, 'The class. IN, which is 1, if left out.'),
  type: field(integer, 'The type, such as 1 for A and 28 for AAAA.'),
  name: field(string, 'The domain name, without a dot at the end.')
})

function fields(type: Type, docs: Readonly<Record<string, string>>): Record<string, Field> {
  return Object.fromEntries(Object.entries(docs).map(([name, doc]) => [name, maybe(type, doc)]))
}

const OF_TYPES: Fields = {
  ...fields(integer, {
    priority: 'Of SRV: the lower, the sooner it is tried.',
    weight: 'Of SRV: its share among those of one priority.',
    port: 'Of SRV: the port.'
  }),
  ...fields(string, {
    name: 'Of PTR, NS, CNAME, DNAME and SRV: the name it leads to.',
    cpu: 'Of HINFO: the processor.',
    os: 'Of HINFO: the operating system.'
  }),
  ...fields(strings, { items: 'Of TXT: the texts.' }),
  ...fields(integers, { address: 'Of A and AAAA: the bytes of the address.' }),
  ...fields(string, { mname: 'Of SOA: the first name server.', rname: 'Of SOA: the mailbox of who is in charge.' }),
  ...fields(integer, {
    serial: 'Of SOA: the version of the zone.',
    refresh: 'Of SOA: seconds after which to look for a new version.',
    retry: 'Of SOA: seconds after which to look again when that failed.',
    expire: 'Of SOA: seconds after which the zone is given up.',
    minimum: 'Of SOA: seconds for which nothing is known to be nothing.'
  }),
  ...fields(string, { exchange: 'Of MX: the mail server.' }),
  ...fields(integer, {
    version: 'Of LOC: 0.',
    size: 'Of LOC: the diameter of the place.',
    horiz_pre: 'Of LOC: how exact the position is.',
    vert_pre: 'Of LOC: how exact the altitude is.',
    latitude: 'Of LOC: the latitude.',
    longitude: 'Of LOC: the longitude.',
    altitude: 'Of LOC: the altitude.',
    keyTag: 'Of DS and RRSIG: the short sum of the key.',
    algorithm: 'Of DS, DNSKEY, RRSIG and SSHFP: the algorithm of the key.',
    digestType: 'Of DS: the algorithm of the digest.'
  }),
  ...fields(string, { digest: 'Of DS: the digest in hexadecimal.' }),
  ...fields(integer, { fptype: 'Of SSHFP: the algorithm of the fingerprint.' }),
  ...fields(string, { fingerprint: 'Of SSHFP: the fingerprint in hexadecimal.' }),
  ...fields(integer, {
    flags: 'Of DNSKEY, NSEC3 and CAA: the flags.',
    protocol: 'Of DNSKEY: 3.'
  }),
  ...fields(string, { dnskey: 'Of DNSKEY: the key in Base64.', signer: 'Of RRSIG: whose key signed.' }),
  ...fields(integer, {
    typeCovered: 'Of RRSIG: the type of what is signed.',
    labels: 'Of RRSIG: how many labels the signed name has.',
    originalTtl: 'Of RRSIG: the lifetime that was signed.',
    expiration: 'Of RRSIG: when it ends.',
    inception: 'Of RRSIG: when it begins.'
  }),
  ...fields(string, {
    signature: 'Of RRSIG: the signature in Base64.',
    nextDomain: 'Of NSEC and NSEC3: the next name there is.'
  }),
  ...fields(integers, { types: 'Of NSEC and NSEC3: the types that the name has.' }),
  ...fields(integer, { iterations: 'Of NSEC3: how often the name is hashed.' }),
  ...fields(string, { salt: 'Of NSEC3: what is hashed along.', hash: 'Of NSEC3: the hash.' }),
  ...fields(integer, {
    certUsage: 'Of TLSA: how the certificate is used.',
    selector: 'Of TLSA: which part of it is meant.',
    matchingType: 'Of TLSA: how it is compared.'
  }),
  ...fields(string, {
    data: 'Of TLSA, OPENPGPKEY and types that are not known: the data.',
    tag: 'Of CAA: the name of the property.',
    value: 'Of CAA: the value of the property.',
    target: 'Of SVCB and HTTPS: the name of the service.'
  }),
  ...fields(object, { svcparams: 'Of SVCB and HTTPS: the parameters of the service.' }),
  ...fields(integer, {
    order: 'Of NAPTR: the order in which rules are looked at.',
    preference: 'Of NAPTR: the order among those of one order.'
  }),
  ...fields(string, {
    naptrFlags: 'Of NAPTR: how to go on.',
    services: 'Of NAPTR: the services.',
    regexp: 'Of NAPTR: how to rewrite the name.',
    replacement: 'Of NAPTR: the name to go on with.'
  })
}

const resourceRecord = structure('ResourceRecord', 'A record, taken apart. Which fields there are hangs on its type.', {
  key: field(resourceKey, 'What it is found by.'),
  ...OF_TYPES
})

export const question = structure('Question', 'One thing that is asked for.', {
  key: field(resourceKey, 'What is looked for.')
})

export const answer = structure('Answer', 'One record that was found.', {
  rr: maybe(resourceRecord, 'The record for humans to read; nothing is done with it.'),
  raw: field(string, 'The record as on the DNS wire, in Base64.')
})

/** The types of `io.systemd.Resolve.Hook`. */
export const hookTypes = [answer, question, resourceKey, resourceRecord]
