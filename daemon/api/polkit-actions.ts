/** What polkit is told about an action; polkit(8) explains the words. */
export interface PolkitAction {
  readonly description: string
  readonly message: string
  /** What a user in an active local session needs; all others need an administrator's password each time. */
  readonly active: 'yes' | 'auth_admin_keep'
  /** Who is allowed this action is allowed these too. */
  readonly implies: readonly string[]
}

/**
 * The polkit actions of machined without their prefix `org.freedesktop.machine1.` (spec/dbus.md 11, and our own), in the
 * order of the policy file. That file lists those which a method's row names.
 */
export const polkitActions = {
  login: {
    description: 'Get a login prompt in a container',
    message: 'Getting a login prompt in a container needs authentication.',
    active: 'auth_admin_keep',
    implies: []
  },
  'host-login': {
    description: 'Get a login prompt on this computer',
    message: 'Getting a login prompt on this computer needs authentication.',
    active: 'yes',
    implies: []
  },
  shell: {
    description: 'Open a shell in a container',
    message: 'Opening a shell in a container needs authentication.',
    active: 'auth_admin_keep',
    implies: ['login']
  },
  'host-shell': {
    description: 'Open a shell on this computer',
    message: 'Opening a shell on this computer needs authentication.',
    active: 'auth_admin_keep',
    implies: ['host-login']
  },
  'open-pty': {
    description: 'Open a terminal in a container',
    message: 'Opening a terminal in a container needs authentication.',
    active: 'auth_admin_keep',
    implies: []
  },
  'host-open-pty': {
    description: 'Open a terminal on this computer',
    message: 'Opening a terminal on this computer needs authentication.',
    active: 'auth_admin_keep',
    implies: []
  },
  'manage-machines': {
    description: 'Control virtual machines and containers',
    message: 'Controlling virtual machines and containers needs authentication.',
    active: 'auth_admin_keep',
    implies: ['shell', 'login', 'inspect-machines']
  },
  'inspect-machines': {
    description: 'Look into virtual machines and containers',
    message: 'Looking into virtual machines and containers needs authentication.',
    active: 'auth_admin_keep',
    implies: []
  },
  'create-machine': {
    description: 'Create a virtual machine or container',
    message: 'Creating a virtual machine or container needs authentication.',
    active: 'auth_admin_keep',
    implies: ['shell', 'login', 'register-machine']
  },
  'register-machine': {
    description: 'Register a running virtual machine or container',
    message: 'Registering a running virtual machine or container needs authentication.',
    active: 'yes',
    implies: []
  },
  'mount-machine': {
    description: 'Mount the files of virtual machines and containers on this computer',
    message: 'Mounting the files of virtual machines and containers needs authentication.',
    active: 'auth_admin_keep',
    implies: []
  },
  'manage-images': {
    description: 'Change images of virtual machines and containers',
    message: 'Changing images of virtual machines and containers needs authentication.',
    active: 'auth_admin_keep',
    implies: ['inspect-images']
  },
  'inspect-images': {
    description: 'Look into images of virtual machines and containers',
    message: 'Looking into images of virtual machines and containers needs authentication.',
    active: 'auth_admin_keep',
    implies: []
  }
} as const satisfies Readonly<Record<string, PolkitAction>>

/** The name of a polkit action of ours. */
export type ActionName = keyof typeof polkitActions
