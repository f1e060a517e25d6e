/* release.h - which Windows a driver is for: the numbers that INF files and the folders of
 * virtio-win are chosen by.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef enum
{
  H2K_WINDOWS_X86,
  H2K_WINDOWS_AMD64,
  H2K_WINDOWS_ARM64,
} H2kWindowsArch;

/* The values are VER_NT_WORKSTATION, _DOMAIN_CONTROLLER and _SERVER of winnt.h. */
typedef enum
{
  H2K_WINDOWS_CLIENT = 1,
  H2K_WINDOWS_DOMAIN_CONTROLLER = 2,
  H2K_WINDOWS_SERVER = 3,
} H2kWindowsProduct;

/* As the guest's registry and kernel say it: Server 2022 is {10, 0, 20348, _SERVER, _AMD64}. */
typedef struct
{
  guint major, minor;
  guint build;
  H2kWindowsProduct product;
  H2kWindowsArch arch;
} H2kWindowsRelease;

/* "x86", "amd64" or "arm64": static. */
const char *h2k_windows_arch_name (H2kWindowsArch arch);
/* "Windows 10.0 build 20348, server, amd64", for messages. The caller's. */
char *h2k_windows_release_to_string (const H2kWindowsRelease *release);
