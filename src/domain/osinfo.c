/* osinfo.c - libosinfo's identifier of a distribution's release.
 *
 * The identifiers are those of osinfo-db. A release that is not in the table gets the newest known
 * one that is not newer, so that a management tool still chooses the right family of defaults.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/domain.h"

#include <stdlib.h>

typedef struct
{
  const char *distro; /* os-release ID */
  const char *base;   /* the identifier up to the release */
  /* Known releases, oldest first, separated by blanks. "8.0-8.10" counts the last number up. */
  const char *releases;
  const char *rolling; /* the release of a guest that has no version number; NULL: the newest */
} OsinfoDistro;

static const OsinfoDistro distros[] = {
    {"debian", "http://debian.org/debian/", "3 3.1 4-13", "testing"},
    {"ubuntu", "http://ubuntu.com/ubuntu/",
     "4.10 5.04 5.10 6.06 6.10 7.04 7.10 8.04 8.10 9.04 9.10 10.04 10.10 11.04 11.10 12.04 12.10 "
     "13.04 13.10 14.04 14.10 15.04 15.10 16.04 16.10 17.04 17.10 18.04 18.10 19.04 19.10 20.04 "
     "20.10 21.04 21.10 22.04 22.10 23.04 23.10 24.04 24.10 25.04",
     NULL},
    {"fedora", "http://fedoraproject.org/fedora/", "1-42", "rawhide"},
    {"rhel", "http://redhat.com/rhel/", "4.0-4.9 5.0-5.11 6.0-6.10 7.0-7.9 8.0-8.10 9.0-9.6 10.0",
     NULL},
    /* From 7 on osinfo-db has one entry a major release; CentOS Linux ended with 8. */
    {"centos", "http://centos.org/centos/", "5.0-5.11 6.0-6.10 7.0 8", NULL},
    {"centos-stream", "http://centos.org/centos-stream/", "8-10", NULL},
    {"rocky", "http://rockylinux.org/rocky/", "8-10", NULL},
    {"almalinux", "http://almalinux.org/almalinux/", "8-10", NULL},
    {"ol", "http://oracle.com/ol/", "5.5-5.11 6.0-6.10 7.0-7.9 8.0-8.5", NULL},
    {"scientific", "http://scientificlinux.org/scientificlinux/", "5.0-5.11 6.0-6.10 7.0-7.6",
     NULL},
    {"opensuse-leap", "http://opensuse.org/opensuse/", "42.1-42.3 15.0-15.6", NULL},
    {"opensuse-tumbleweed", "http://opensuse.org/opensuse/", "", "tumbleweed"},
    {"opensuse", "http://opensuse.org/opensuse/", "10.2 10.3 11.0-11.4 12.1-12.3 13.1 13.2",
     "tumbleweed"},
    {"arch", "http://archlinux.org/archlinux/", "", "rolling"},
    {"manjaro", "http://manjaro.org/manjaro/", "", "rolling"},
    {"gentoo", "http://gentoo.org/gentoo/", "", "rolling"},
    {"void", "http://voidlinux.org/voidlinux/", "", "rolling"},
    {"alpine", "http://alpinelinux.org/alpinelinux/", "3.5-3.21", NULL},
    {"altlinux", "http://altlinux.org/alt/", "8.0-8.2 9.0-9.2 10.0", NULL},
    {"mageia", "http://mageia.org/mageia/", "1-9", NULL},
    {"nixos", "http://nixos.org/nixos/", "20.03 20.09 21.05 21.11 22.05", "unstable"},
    {"slackware", "http://slackware.com/slackware/", "14.2", "current"},
};

/* SUSE renamed its releases: up to 12 each product has its own identifiers, from 15 on they share
 * one. */
static const OsinfoDistro sle[] = {
    {"sles", "http://suse.com/sles/", "9 10 10.1-10.4 11 11.1-11.4 12 12.1-12.5", NULL},
    {"sled", "http://suse.com/sled/", "9 10 10.1-10.4 11 11.1-11.4 12 12.1-12.5", NULL},
    {"sle", "http://suse.com/sle/", "15 15.1-15.6", NULL},
};

/* Major and minor of "12", "8.10", "3.17.1"; -1 for what is not there. */
typedef struct
{
  int major, minor;
} Release;

static Release
parse_release (const char *text)
{
  Release release = {-1, -1};
  char *end;

  if (!g_ascii_isdigit (*text))
    return release;
  release.major = (int)MIN (strtoul (text, &end, 10), 100000);
  if (*end == '.' && g_ascii_isdigit (end[1]))
    release.minor = (int)MIN (strtoul (end + 1, NULL, 10), 100000);
  return release;
}

static int
compare (Release a, Release b)
{
  return a.major != b.major ? (a.major > b.major) - (a.major < b.major)
                            : (a.minor > b.minor) - (a.minor < b.minor);
}

/* The releases of LIST one by one, ranges expanded. char *. */
static GPtrArray *
expand (const char *list)
{
  GPtrArray *releases = g_ptr_array_new_with_free_func (g_free);
  g_auto (GStrv) words = g_strsplit (list, " ", -1);

  for (char **w = words; *w != NULL; w++)
    {
      char *dash = strchr (*w, '-');
      Release from = parse_release (*w), to = parse_release (dash == NULL ? *w : dash + 1);

      if (dash == NULL && **w != '\0')
        g_ptr_array_add (releases, g_strdup (*w));
      else if (dash != NULL && from.minor < 0)
        for (int n = from.major; n <= to.major; n++)
          g_ptr_array_add (releases, g_strdup_printf ("%d", n));
      else if (dash != NULL)
        for (int n = from.minor; n <= to.minor; n++)
          g_ptr_array_add (releases, g_strdup_printf ("%d.%d", from.major, n));
    }
  return releases;
}

static char *
choose (const OsinfoDistro *distro, const char *version)
{
  g_autoptr (GPtrArray) releases = expand (distro->releases);
  Release want = parse_release (version);
  const char *best = NULL;

  if (want.major < 0 && distro->rolling != NULL)
    return g_strconcat (distro->base, distro->rolling, NULL);
  for (guint i = 0; i < releases->len; i++)
    {
      const char *release = g_ptr_array_index (releases, i);
      Release known = parse_release (release);

      if (strcmp (release, version) == 0)
        {
          best = release;
          break;
        }
      /* "12.4" of a distribution that counts whole numbers is its 12; "7" without a minor number
       * is the last 7 that is known. */
      if (want.minor < 0 ? want.major < 0 || known.major <= want.major : compare (known, want) <= 0)
        if (best == NULL || compare (known, parse_release (best)) >= 0)
          best = release;
    }
  /* Older than all that are known, or a distribution without numbers. */
  if (best == NULL && releases->len > 0)
    best = g_ptr_array_index (releases, releases->len - 1);
  return g_strconcat (distro->base, best != NULL ? best : distro->rolling, NULL);
}

char *
h2k_domain_osinfo_id (const char *distro, const char *version)
{
  Release release;

  if (distro == NULL)
    return NULL;
  if (version == NULL)
    version = "";
  release = parse_release (version);

  if (strcmp (distro, "sles") == 0 || strcmp (distro, "sled") == 0
      || strcmp (distro, "sles_sap") == 0)
    return choose (release.major < 0 || release.major >= 15 ? &sle[2]
                   : strcmp (distro, "sled") == 0           ? &sle[1]
                                                            : &sle[0],
                   version);
  /* CentOS Stream calls itself "centos", and its version has no minor number. */
  if (strcmp (distro, "centos") == 0 && release.major >= 9)
    distro = "centos-stream";
  for (gsize i = 0; i < G_N_ELEMENTS (distros); i++)
    if (strcmp (distros[i].distro, distro) == 0)
      return choose (&distros[i], version);
  return NULL;
}

/* From the newest to the oldest: the first one that is not newer than the guest is its. Windows 11
 * and the servers from 2016 on all call themselves 10.0. */
static const struct
{
  guint major, minor, build;
  gboolean server;
  const char *id;
} windows[] = {
    {10, 0, 22000, FALSE, "11"},  {10, 0, 0, FALSE, "10"},      {6, 3, 0, FALSE, "8.1"},
    {6, 2, 0, FALSE, "8"},        {6, 1, 0, FALSE, "7"},        {6, 0, 0, FALSE, "vista"},
    {5, 1, 0, FALSE, "xp"},       {5, 0, 0, FALSE, "2k"},       {10, 0, 26040, TRUE, "2k25"},
    {10, 0, 20348, TRUE, "2k22"}, {10, 0, 17763, TRUE, "2k19"}, {10, 0, 0, TRUE, "2k16"},
    {6, 3, 0, TRUE, "2k12r2"},    {6, 2, 0, TRUE, "2k12"},      {6, 1, 0, TRUE, "2k8r2"},
    {6, 0, 0, TRUE, "2k8"},       {5, 2, 0, TRUE, "2k3"},       {5, 0, 0, TRUE, "2k"},
};

char *
h2k_domain_windows_osinfo_id (guint major, guint minor, guint build, gboolean server)
{
  for (gsize i = 0; i < G_N_ELEMENTS (windows); i++)
    {
      guint64 known = (guint64)windows[i].major << 40 | (guint64)windows[i].minor << 32;

      if (windows[i].server == !!server
          && ((guint64)MIN (major, 255) << 40 | (guint64)MIN (minor, 255) << 32 | build)
                 >= (known | windows[i].build))
        return g_strconcat ("http://microsoft.com/win/", windows[i].id, NULL);
    }
  return NULL;
}
