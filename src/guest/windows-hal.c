/* windows-hal.c - which hardware abstraction layer an old Windows was installed with.
 *
 * Up to Server 2003 setup chose a HAL for the machine, and that one is what starts: one for a
 * single processor does not use a second one, and one without ACPI does not run on a board that
 * sets up its devices through it. Later ones choose at each start.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/windows-private.h"

/* The computer device's ids, as hal.inf of Windows XP has them. */
static const struct
{
  const char *id;
  guint max_vcpus;
} hals[] = {
    {"acpiapic_mp", 0}, {"acpiapic_up", 1}, {"acpipic_up", 1},
    {"mps_mp", 0},      {"mps_up", 1},      {"e_isa_up", 1},
};

/* The computer is a device below Root, with a number that is mostly 0000. */
static const char *const devices[] = {
    "Enum\\Root\\ACPI_HAL\\0000",
    "Enum\\Root\\PCI_HAL\\0000",
    "Enum\\Root\\ISA_HAL\\0000",
    "Enum\\Root\\MPS_HAL\\0000",
};

static char *
read_id (H2kWindows *w, H2kHive *system)
{
  for (guint i = 0; i < G_N_ELEMENTS (devices); i++)
    {
      g_autofree char *key = h2k_windows_key (w, devices[i]);
      g_auto (GStrv) ids = h2k_hive_get_strings (system, key, "HardwareID");

      if (ids && ids[0])
        return g_strdup (ids[0]);
    }
  return NULL;
}

void
h2k_windows_read_hal (H2kWindows *w, H2kHive *system)
{
  w->hal = read_id (w, system);
  if (!w->hal || w->version.major >= 6)
    return;
  for (guint i = 0; i < G_N_ELEMENTS (hals); i++)
    if (g_ascii_strcasecmp (w->hal, hals[i].id) == 0)
      w->max_vcpus = hals[i].max_vcpus;
}
