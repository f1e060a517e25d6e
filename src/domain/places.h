/* places.h - where the PCI devices of a Windows guest are.
 *
 * Windows knows a device by its place: one that is found elsewhere is a new one, without the
 * addresses that the NIC was given and without the driver that was bound to the disk's controller.
 * So every place is written down, is the same in all definitions of the VM, and is chosen as
 * libvirt chooses by itself. Devices of other guests have no such place: libvirt and QEMU choose.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

/* Devices that each domain has one of. */
typedef enum
{
  H2K_PLACE_USB,
  H2K_PLACE_SERIAL, /* the controller of virtio ports */
  H2K_PLACE_BALLOON,
  H2K_PLACE_RNG,
  H2K_N_PLACES,
} H2kPlace;

typedef struct
{
  gboolean pinned; /* FALSE: there is no such place */
  guint bus, slot, function;
} H2kPci;

H2kPci h2k_place_nic (const H2kDomain *domain, guint number);
H2kPci h2k_place_device (const H2kDomain *domain, H2kPlace device);
/* Of a VirtIO disk, or of the controller whose first disk it is. */
H2kPci h2k_place_disk (const H2kDomain *domain, const H2kDomainDisk *disk);

#define H2K_MAX_PORTS (14 * 8) /* fill the slots from 2 on that are for them */

/* How many PCI Express root ports these places need; port number N, from 0 on, makes bus N + 1. */
guint h2k_place_ports (const H2kDomain *domain);
H2kPci h2k_place_port (guint number);
