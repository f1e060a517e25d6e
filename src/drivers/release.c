/* release.c - releases of Windows in words.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/release.h"

const char *
h2k_windows_arch_name (H2kWindowsArch arch)
{
  static const char *const names[] = {"x86", "amd64", "arm64"};

  g_assert (arch < G_N_ELEMENTS (names));
  return names[arch];
}

char *
h2k_windows_release_to_string (const H2kWindowsRelease *release)
{
  return g_strdup_printf ("Windows %u.%u build %u, %s, %s", release->major, release->minor,
                          release->build,
                          release->product == H2K_WINDOWS_CLIENT ? "client" : "server",
                          h2k_windows_arch_name (release->arch));
}
