/* firstboot.c - finds the programs and scripts that embed.S holds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "firstboot/firstboot.h"

typedef struct
{
  const char *name;
  const char *begin;
  const char *end;
} Part;

#define EMBEDDED(symbol)                                                                           \
  extern const char h2k_fb_##symbol[] __attribute__ ((visibility ("hidden")));                     \
  extern const char h2k_fb_##symbol##_end[] __attribute__ ((visibility ("hidden")))

EMBEDDED (x86_64);
EMBEDDED (i686);
EMBEDDED (aarch64);
EMBEDDED (drivers);
EMBEDDED (network);
EMBEDDED (ghost_nics);
EMBEDDED (old_tools);
EMBEDDED (disks);
EMBEDDED (guest_agent);
EMBEDDED (cleanup);

#define PART(name, symbol)                                                                         \
  {                                                                                                \
    name, h2k_fb_##symbol, h2k_fb_##symbol##_end                                                   \
  }

static const Part programs[] = {
    PART ("x86_64", x86_64),
    PART ("i686", i686),
    PART ("aarch64", aarch64),
};

static const Part scripts[] = {
    PART ("010-drivers.cmd", drivers),       PART ("020-network.cmd", network),
    PART ("030-ghost-nics.cmd", ghost_nics), PART ("040-old-tools.cmd", old_tools),
    PART ("050-disks.cmd", disks),           PART ("060-guest-agent.cmd", guest_agent),
    PART ("900-cleanup.cmd", cleanup),
};

GBytes *
h2k_firstboot_program (const char *arch)
{
  for (gsize i = 0; i < G_N_ELEMENTS (programs); i++)
    if (g_str_equal (arch, programs[i].name) && programs[i].end > programs[i].begin)
      return g_bytes_new_static (programs[i].begin, programs[i].end - programs[i].begin);
  return NULL;
}

const char *const *
h2k_firstboot_scripts (void)
{
  static const char *names[G_N_ELEMENTS (scripts) + 1];
  static gsize once;

  if (g_once_init_enter (&once))
    {
      for (gsize i = 0; i < G_N_ELEMENTS (scripts); i++)
        names[i] = scripts[i].name;
      g_once_init_leave (&once, 1);
    }
  return names;
}

/* cmd.exe may miss labels in a file whose lines end with a line feed alone. */
GBytes *
h2k_firstboot_script (const char *name)
{
  for (gsize i = 0; i < G_N_ELEMENTS (scripts); i++)
    if (g_str_equal (name, scripts[i].name))
      {
        g_autoptr (GString) text
            = g_string_new_len (scripts[i].begin, scripts[i].end - scripts[i].begin);

        g_string_replace (text, "\n", "\r\n", 0);
        return g_string_free_to_bytes (g_steal_pointer (&text));
      }
  return NULL;
}
