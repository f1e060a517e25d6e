/* firstboot.c - finds the programs that embed.S holds.
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

#define PART(name, symbol)                                                                         \
  {                                                                                                \
    name, h2k_fb_##symbol, h2k_fb_##symbol##_end                                                   \
  }

static const Part programs[] = {
    PART ("x86_64", x86_64),
    PART ("i686", i686),
    PART ("aarch64", aarch64),
};

GBytes *
h2k_firstboot_program (const char *arch)
{
  for (gsize i = 0; i < G_N_ELEMENTS (programs); i++)
    if (g_str_equal (arch, programs[i].name) && programs[i].end > programs[i].begin)
      return g_bytes_new_static (programs[i].begin, programs[i].end - programs[i].begin);
  return NULL;
}
