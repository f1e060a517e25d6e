/* inf-target.c - which of the decorated sections of an INF are for one release of Windows: "INF
 * Manufacturer Section" and "Combining Platform Extensions with Operating System Versions" of
 * Microsoft's driver documentation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf-private.h"

/* The build of Windows 10 from which on decorations may have a build. Before it they are not
 * understood, so that their section does not count. */
#define FIRST_WITH_BUILDS 14310

/* NT[architecture][.major[.minor[.product[.suites[.build]]]]] */
typedef struct
{
  gboolean has_arch;
  H2kWindowsArch arch;
  guint64 major, minor, product, suites, build; /* 0: not given */
} Decoration;

static const struct
{
  const char *name;
  const char *decorated;
  H2kWindowsArch arch;
} processors[] = {
    {"x86", "NTx86", H2K_WINDOWS_X86},
    {"amd64", "NTamd64", H2K_WINDOWS_AMD64},
    {"arm64", "NTarm64", H2K_WINDOWS_ARM64},
};

const char *
h2k_inf_nt_arch (H2kWindowsArch arch)
{
  for (gsize i = 0; i < G_N_ELEMENTS (processors); i++)
    if (processors[i].arch == arch)
      return processors[i].decorated;
  g_assert_not_reached ();
}

/* TEXT as a number, decimal or 0x...; "" is 0. */
static gboolean
parse_number (const char *text, guint64 *number)
{
  gboolean hex = text[0] == '0' && (text[1] | 0x20) == 'x';

  *number = 0;
  return *text == '\0'
         || g_ascii_string_to_unsigned (hex ? text + 2 : text, hex ? 16 : 10, 0, G_MAXUINT32,
                                        number, NULL);
}

/* FALSE: it is none, or for a processor that is not known here (ia64, arm). */
static gboolean
parse_decoration (const char *text, Decoration *decoration)
{
  g_auto (GStrv) parts = g_strsplit (text, ".", -1);
  guint64 *const numbers[] = {&decoration->major, &decoration->minor, &decoration->product,
                              &decoration->suites, &decoration->build};
  guint n = g_strv_length (parts);

  *decoration = (Decoration){0};
  if (n == 0 || n > 1 + G_N_ELEMENTS (numbers) || g_ascii_strncasecmp (parts[0], "nt", 2) != 0)
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (processors); i++)
    if (g_ascii_strcasecmp (parts[0] + 2, processors[i].name) == 0)
      {
        decoration->has_arch = TRUE;
        decoration->arch = processors[i].arch;
      }
  if (parts[0][2] != '\0' && !decoration->has_arch)
    return FALSE;
  for (guint i = 1; i < n; i++)
    if (!parse_number (parts[i], numbers[i - 1]))
      return FALSE;
  return TRUE;
}

/* Since the first service pack of Server 2003, which is the first Windows on amd64, sections
 * without a processor are for x86. */
static gboolean
fits (const Decoration *decoration, const H2kWindowsRelease *target)
{
  guint64 wanted = decoration->major << 32 | decoration->minor;
  guint64 is = (guint64)target->major << 32 | target->minor;

  if (decoration->has_arch ? decoration->arch != target->arch : target->arch != H2K_WINDOWS_X86)
    return FALSE;
  if (wanted > is || (decoration->product != 0 && decoration->product != target->product))
    return FALSE;
  /* Which suites an installation has is not known here: what is for one of them alone is not taken.
   */
  if (decoration->suites != 0)
    return FALSE;
  if (decoration->build == 0 || wanted < is)
    return TRUE;
  return target->build >= FIRST_WITH_BUILDS && decoration->build <= target->build;
}

/* Whether A is closer to the target than B, which both fit. */
static gboolean
is_closer (const Decoration *a, const Decoration *b)
{
  if (a->major != b->major)
    return a->major > b->major;
  if (a->minor != b->minor)
    return a->minor > b->minor;
  if (a->build != b->build)
    return a->build > b->build;
  if (a->has_arch != b->has_arch)
    return a->has_arch;
  return a->product > b->product;
}

InfSection *
h2k_inf_models (InfDoc *doc, const InfLine *line, const char *name, const char **decoration)
{
  const char *best = NULL;
  Decoration closest = {0}, parsed;
  g_autofree char *full = NULL;

  for (guint i = 1; line->key && i < line->fields->len; i++)
    {
      const char *text = h2k_inf_raw (line, i);
      if (!parse_decoration (text, &parsed) || !fits (&parsed, doc->target)
          || (best && !is_closer (&parsed, &closest)))
        continue;
      best = text;
      closest = parsed;
    }
  parsed = (Decoration){0};
  if (!best && !fits (&parsed, doc->target))
    return NULL;
  *decoration = best ? best : "";
  full = best ? g_strdup_printf ("%s.%s", name, best) : g_strdup (name);
  return h2k_inf_section (doc, full);
}

InfSection *
h2k_inf_decorated (InfDoc *doc, const char *name)
{
  const char *const decorations[] = {h2k_inf_nt_arch (doc->target->arch), "NT", NULL};
  InfSection *section = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS (decorations) && !section; i++)
    {
      g_autofree char *full = g_strconcat (name, decorations[i] ? "." : "", decorations[i], NULL);
      section = h2k_inf_section (doc, full);
    }
  return section;
}
