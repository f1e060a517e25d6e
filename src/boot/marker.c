/* marker.c - the unit that reports from inside the guest that it came up, and with which network.
 *
 * Follows systemd.unit(5) and systemd.service(5). The script is a part of the unit because a script
 * file in /etc could not be executed under SELinux, and uses what every guest has: a POSIX shell,
 * /sys, and iproute2 when it is there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/marker.h"

#define UNIT_DIR "/etc/systemd/system"
#define UNIT_NAME "hyper2kvm-boot-test.service"
/* Where the first boot leaves a note for the second. */
#define STATE_FILE "/etc/hyper2kvm-boot-test.state"

void
h2k_marker_report_free (H2kMarkerReport *report)
{
  if (report == NULL)
    return;
  g_free (report->interface);
  g_free (report->address);
  g_free (report->gateway);
  g_free (report->mac);
  g_free (report->driver);
  g_free (report->systemd);
  g_free (report->failed);
  g_free (report->line);
  g_free (report);
}

/* The value of the word that starts with KEY; NULL when there is none. The caller's. */
static char *
word_value (char **words, const char *key)
{
  for (; *words != NULL; words++)
    if (g_str_has_prefix (*words, key))
      return h2k_escape_text (*words + strlen (key), -1);
  return NULL;
}

H2kMarkerReport *
h2k_marker_parse (const char *line, const char *nonce)
{
  g_autofree char *head = g_strdup_printf ("H2K-BOOT-OK id=%s ", nonce);
  const char *start = strstr (line, head), *end = start == NULL ? NULL : strstr (start, " end");
  g_autofree char *text = NULL, *net = NULL, *boot = NULL;
  g_auto (GStrv) words = NULL, parts = NULL;
  H2kMarkerReport *report;

  if (end == NULL)
    return NULL;
  text = g_strndup (start, (gsize)(end - start));
  words = g_strsplit (text, " ", 16);
  boot = word_value (words, "boot=");
  net = word_value (words, "net=");
  if (boot == NULL || net == NULL)
    return NULL;
  report = g_new0 (H2kMarkerReport, 1);
  report->boot = (guint)g_ascii_strtoull (boot, NULL, 10);
  report->systemd = word_value (words, "systemd=");
  report->failed = word_value (words, "failed=");
  report->line = h2k_escape_text (text, -1);
  parts = g_strsplit (net, ",", 5);
  if (g_strv_length (parts) == 5 && *parts[0] != '\0' && *parts[1] != '\0')
    {
      report->interface = g_strdup (parts[0]);
      report->address = g_strdup (parts[1]);
      report->gateway = g_strdup (parts[2]);
      report->mac = g_strdup (parts[3]);
      report->driver = g_strdup (parts[4]);
    }
  return report;
}

char *
h2k_marker_network (const H2kMarkerReport *report)
{
  if (report->interface == NULL)
    return g_strdup ("none");
  if (report->driver == NULL || *report->driver == '\0')
    return g_strdup_printf ("%s up %s", report->interface, report->address);
  return g_strdup_printf ("%s up %s (%s)", report->interface, report->address, report->driver);
}

/* The script. In the unit its line ends become blanks, so a statement that could run into the next
 * line ends with ';'. Quotes, backslashes and comments have no place in it.
 *
 * Interfaces count when they are hardware or stand on hardware (bridges, bonds, VLANs): docker0 and
 * the like always have an address. An IPv6 address counts only when there is no other after a
 * minute, since a router advertisement gives one to every interface that is merely up. */
static const char script[] = //
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin;\n"
    "boot=1; if [ -e " STATE_FILE " ]; then boot=2; fi;\n"
    "find_net() {\n"
    "for l in /sys/class/net/*; do\n"
    "i=${l##*/}; if [ $i = lo ]; then continue; fi;\n"
    "set -- $l/device $l/lower_*;\n"
    "if [ ! -e $1 ] && [ ! -e $2 ]; then continue; fi;\n"
    "set -- $(ip -$v -o addr show dev $i scope global 2>/dev/null);\n"
    "if [ $# -lt 4 ]; then continue; fi; a=$4;\n"
    "set -- $(ip -$v route show default dev $i 2>/dev/null);\n"
    "g=; if [ $# -ge 3 ] && [ $2 = via ]; then g=$3; fi;\n"
    "d=; if [ -e $l/device/driver ]; then d=$(readlink $l/device/driver); d=${d##*/}; fi;\n"
    "net=$i,$a,$g,$(cat $l/address),$d; return 0;\n"
    "done; return 1; };\n"
    "net=none; v=4; n=0;\n"
    "while [ $n -lt 60 ] && ! find_net; do n=$((n+1)); sleep 1; done;\n"
    "v=6; if [ $net = none ]; then find_net || true; fi;\n"
    "n=0; while [ $n -lt 30 ]; do s=$(systemctl is-system-running 2>/dev/null);\n"
    "case $s in starting|initializing) ;; *) break ;; esac; n=$((n+1)); sleep 1; done;\n"
    "f=$(systemctl --failed --no-legend --plain --no-pager 2>/dev/null\n"
    "| while read u rest; do printf %s, $u; done); f=${f%,};\n"
    "o=$(echo H2K-BOOT-OK id=@NONCE@ boot=$boot net=$net systemd=$s failed=$f end);\n"
    "ports=/dev/virtio-ports/" H2K_MARKER_PORT ";\n"
    "for p in /sys/class/virtio-ports/*; do\n"
    "if [ -e $p/name ] && [ $(cat $p/name) = " H2K_MARKER_PORT " ]; then\n"
    "ports=/dev/${p##*/}; fi; done;\n"
    /* In the background: opening a serial line can block. */
    "for p in $ports /dev/ttyS0 /dev/ttyAMA0 /dev/hvc0 /dev/ttysclp0; do\n"
    "if [ -c $p ]; then { echo; echo $o; } > $p & fi; done; sleep 3;\n";

/* Only when the note could be left: a guest with a read-only root would reboot for ever. */
static const char script_reboot[] = "if [ $boot = 1 ] && echo rebooted > " STATE_FILE "; then\n"
                                    "sync; systemctl reboot; fi;\n";

/* TEXT as a part of ExecStart=: '$' and '%' are systemd's own, and old versions limit a line to
 * 2 KiB, which continuation lines do not share. */
static void
append_escaped (GString *unit, const char *text)
{
  for (; *text != '\0'; text++)
    if (*text == '\n')
      g_string_append (unit, " \\\n");
    else
      {
        if (*text == '$' || *text == '%')
          g_string_append_c (unit, *text);
        g_string_append_c (unit, *text);
      }
}

static char *
make_unit (const char *target, const char *nonce, gboolean reboot)
{
  GString *unit = g_string_new ("[Unit]\n"
                                "Description=Reports to hyper2kvm's boot test\n");
  GString *text = g_string_new (script);

  /* Not a part of the boot itself: Type=simple lets the system become "running" meanwhile. */
  g_string_append_printf (unit, "After=%s\n\n[Service]\nType=simple\nExecStart=/bin/sh -c '",
                          target);
  g_string_replace (text, "@NONCE@", nonce, 0);
  if (reboot)
    g_string_append (text, script_reboot);
  append_escaped (unit, text->str);
  g_string_append (unit, "'\n");
  g_string_free (text, TRUE);
  return g_string_free (unit, FALSE);
}

char *
h2k_marker_unit (const char *nonce, gboolean reboot)
{
  return make_unit ("multi-user.target", nonce, reboot);
}

/* The target that the guest boots into, as far as the marker can wait for it: what graphical.target
 * adds (a display manager) is not needed for proof. */
static char *
boot_target (H2kTree *tree)
{
  static const char *const links[]
      = {UNIT_DIR "/default.target", "/usr/lib/systemd/system/default.target",
         "/lib/systemd/system/default.target"};

  for (gsize i = 0; i < G_N_ELEMENTS (links); i++)
    {
      g_autofree char *path = h2k_tree_resolve (tree, links[i], FALSE);
      g_autofree char *name = path == NULL ? NULL : g_path_get_basename (path);

      if (name != NULL && g_str_has_suffix (name, ".target")
          && strcmp (name, "graphical.target") != 0 && strcmp (name, "default.target") != 0)
        return g_steal_pointer (&name);
      if (name != NULL)
        break;
    }
  return g_strdup ("multi-user.target");
}

gboolean
h2k_marker_possible (H2kGuest *guest, const char **why)
{
  const char *reason = NULL;

  if (guest->init != H2K_INIT_SYSTEMD)
    reason = "the guest does not use systemd";
  else if (guest->root->fs == NULL || !guest->root->fs->writable)
    reason = "the guest's root filesystem cannot be written";
  else if (!h2k_tree_exists (guest->tree, "/bin/sh"))
    reason = "the guest has no /bin/sh";
  if (why != NULL)
    *why = reason;
  return reason == NULL;
}

gboolean
h2k_marker_install (H2kGuest *guest, const char *nonce, gboolean reboot, GError **error)
{
  g_autofree char *target = boot_target (guest->tree);
  g_autofree char *unit = make_unit (target, nonce, reboot);
  g_autofree char *wants = g_strdup_printf (UNIT_DIR "/%s.wants/" UNIT_NAME, target);
  g_autofree char *dir = g_path_get_dirname (wants);
  g_autoptr (GBytes) data = g_bytes_new (unit, strlen (unit));

  if (!h2k_tree_write (guest->tree, UNIT_DIR "/" UNIT_NAME, data, 0644, error))
    return FALSE;
  if (!h2k_tree_is_dir (guest->tree, dir) && !h2k_tree_mkdir (guest->tree, dir, 0755, error))
    return FALSE;
  return h2k_tree_symlink (guest->tree, "../" UNIT_NAME, wants, error)
         && h2k_guest_flush (guest, error);
}
