// Numbers of the vhost-user protocol (vhost-user.rst): message types of both directions, protocol features, flags.
// Names that the specification has changed since stand here in their present form (BACKEND for SLAVE).

/** Messages of the front-end. */
export const VHOST_USER_GET_FEATURES = 1
export const VHOST_USER_SET_FEATURES = 2
export const VHOST_USER_SET_OWNER = 3
export const VHOST_USER_RESET_OWNER = 4
export const VHOST_USER_SET_MEM_TABLE = 5
export const VHOST_USER_SET_LOG_BASE = 6
export const VHOST_USER_SET_LOG_FD = 7
export const VHOST_USER_SET_VRING_NUM = 8
export const VHOST_USER_SET_VRING_ADDR = 9
export const VHOST_USER_SET_VRING_BASE = 10
export const VHOST_USER_GET_VRING_BASE = 11
export const VHOST_USER_SET_VRING_KICK = 12
export const VHOST_USER_SET_VRING_CALL = 13
export const VHOST_USER_SET_VRING_ERR = 14
export const VHOST_USER_GET_PROTOCOL_FEATURES = 15
export const VHOST_USER_SET_PROTOCOL_FEATURES = 16
export const VHOST_USER_GET_QUEUE_NUM = 17
export const VHOST_USER_SET_VRING_ENABLE = 18
export const VHOST_USER_SEND_RARP = 19
export const VHOST_USER_NET_SET_MTU = 20
export const VHOST_USER_SET_BACKEND_REQ_FD = 21
export const VHOST_USER_IOTLB_MSG = 22
export const VHOST_USER_SET_VRING_ENDIAN = 23
export const VHOST_USER_GET_CONFIG = 24
export const VHOST_USER_SET_CONFIG = 25
export const VHOST_USER_GET_INFLIGHT_FD = 31
export const VHOST_USER_SET_INFLIGHT_FD = 32
export const VHOST_USER_RESET_DEVICE = 34
export const VHOST_USER_VRING_KICK = 35
export const VHOST_USER_GET_MAX_MEM_SLOTS = 36
export const VHOST_USER_ADD_MEM_REG = 37
export const VHOST_USER_REM_MEM_REG = 38
export const VHOST_USER_SET_STATUS = 39
export const VHOST_USER_GET_STATUS = 40

/** Messages of the back-end, on the channel that VHOST_USER_SET_BACKEND_REQ_FD opens. */
export const VHOST_USER_BACKEND_IOTLB_MSG = 1
export const VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2
export const VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG = 3
export const VHOST_USER_BACKEND_VRING_CALL = 4
export const VHOST_USER_BACKEND_VRING_ERR = 5

/** The feature bit by which a back-end says that it knows protocol features, and the one that asks it to log writes. */
export const VHOST_USER_F_PROTOCOL_FEATURES = 30
export const VHOST_F_LOG_ALL = 26

/** Protocol features, as bit numbers. */
export const VHOST_USER_PROTOCOL_F_MQ = 0
export const VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1
export const VHOST_USER_PROTOCOL_F_REPLY_ACK = 3
export const VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5
export const VHOST_USER_PROTOCOL_F_CONFIG = 9
export const VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10
export const VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12
export const VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13
export const VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 14
export const VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15
export const VHOST_USER_PROTOCOL_F_STATUS = 16
export const VHOST_USER_PROTOCOL_F_XEN_MMAP = 17
/** A ring whose base is asked for may leave requests in the record of those in flight, which the front-end takes along. */
export const VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT = 20

/** Most regions in one VHOST_USER_SET_MEM_TABLE. */
export const VHOST_MEMORY_BASELINE_NREGIONS = 8

/** Bytes of guest memory for each bit of the log of written pages. */
export const VHOST_LOG_PAGE = 0x1000

/** In the flags of SET_VRING_ADDR, as a bit number: writes to the used ring are to be logged. */
export const VHOST_VRING_F_LOG = 0

const NAMES: Readonly<Record<number, string>> = {
  [VHOST_USER_GET_FEATURES]: 'GET_FEATURES',
  [VHOST_USER_SET_FEATURES]: 'SET_FEATURES',
  [VHOST_USER_SET_OWNER]: 'SET_OWNER',
  [VHOST_USER_RESET_OWNER]: 'RESET_OWNER',
  [VHOST_USER_SET_MEM_TABLE]: 'SET_MEM_TABLE',
  [VHOST_USER_SET_LOG_BASE]: 'SET_LOG_BASE',
  [VHOST_USER_SET_LOG_FD]: 'SET_LOG_FD',
  [VHOST_USER_SET_VRING_NUM]: 'SET_VRING_NUM',
  [VHOST_USER_SET_VRING_ADDR]: 'SET_VRING_ADDR',
  [VHOST_USER_SET_VRING_BASE]: 'SET_VRING_BASE',
  [VHOST_USER_GET_VRING_BASE]: 'GET_VRING_BASE',
  [VHOST_USER_SET_VRING_KICK]: 'SET_VRING_KICK',
  [VHOST_USER_SET_VRING_CALL]: 'SET_VRING_CALL',
  [VHOST_USER_SET_VRING_ERR]: 'SET_VRING_ERR',
  [VHOST_USER_GET_PROTOCOL_FEATURES]: 'GET_PROTOCOL_FEATURES',
  [VHOST_USER_SET_PROTOCOL_FEATURES]: 'SET_PROTOCOL_FEATURES',
  [VHOST_USER_GET_QUEUE_NUM]: 'GET_QUEUE_NUM',
  [VHOST_USER_SET_VRING_ENABLE]: 'SET_VRING_ENABLE',
  [VHOST_USER_SEND_RARP]: 'SEND_RARP',
  [VHOST_USER_NET_SET_MTU]: 'NET_SET_MTU',
  [VHOST_USER_SET_BACKEND_REQ_FD]: 'SET_BACKEND_REQ_FD',
  [VHOST_USER_IOTLB_MSG]: 'IOTLB_MSG',
  [VHOST_USER_SET_VRING_ENDIAN]: 'SET_VRING_ENDIAN',
  [VHOST_USER_GET_CONFIG]: 'GET_CONFIG',
  [VHOST_USER_SET_CONFIG]: 'SET_CONFIG',
  [VHOST_USER_GET_INFLIGHT_FD]: 'GET_INFLIGHT_FD',
  [VHOST_USER_SET_INFLIGHT_FD]: 'SET_INFLIGHT_FD',
  [VHOST_USER_RESET_DEVICE]: 'RESET_DEVICE',
  [VHOST_USER_VRING_KICK]: 'VRING_KICK',
  [VHOST_USER_GET_MAX_MEM_SLOTS]: 'GET_MAX_MEM_SLOTS',
  [VHOST_USER_ADD_MEM_REG]: 'ADD_MEM_REG',
  [VHOST_USER_REM_MEM_REG]: 'REM_MEM_REG',
  [VHOST_USER_SET_STATUS]: 'SET_STATUS',
  [VHOST_USER_GET_STATUS]: 'GET_STATUS',
}

/** A message of the front-end as people write it. */
export function messageName(request: number): string {
  return NAMES[request] ?? `message ${request}`
}
