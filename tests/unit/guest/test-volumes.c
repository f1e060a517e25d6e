/* test-volumes.c - a system on LVM, md and LUKS is found, mounted by its own names, and changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../volume/samples.h"

#include "guest/guest.h"

#define VARIABLE "H2K_TEST_GUEST_KEY"

typedef struct
{
  const char *sample;
  const char *root;  /* as its fstab says */
  const char *other; /* another name of it */
  const char *spec;  /* fstab's first field as it was noted */
} Case;

static const Case cases[] = {
    {"lvm-linear", "/dev/mapper/vg--0-root", "/dev/vg-0/root", "/dev/mapper/vg--0-root"},
    {"lvm-striped", "UUID=11111111-2222-3333-4444-555555555555", "LABEL=ROOT",
     "UUID=11111111-2222-3333-4444-555555555555"},
    {"lvm-on-md1", "/dev/vg/root", "/dev/disk/by-id/dm-name-vg-root", "/dev/vg/root"},
    {"lvm-on-luks2", "/dev/mapper/vg-root", "/dev/vg/root", "/dev/mapper/vg-root"},
    {"luks2-on-lvm", "/dev/mapper/root_crypt",
     "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000002", "/dev/mapper/root_crypt"},
    {"luks1", "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003",
     "/dev/disk/by-uuid/11111111-2222-3333-4444-555555555555",
     "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003"},
};

static H2kGuest *
open_guest (GPtrArray *disks)
{
  g_autoptr (H2kKeys) keys = h2k_keys_new ();
  H2kGuestOptions options = {.keys = keys};
  g_autoptr (GError) error = NULL;
  H2kGuest *guest;

  g_setenv (VARIABLE, "correct horse", TRUE);
  g_assert_true (h2k_keys_add (keys, "all:env:" VARIABLE, NULL));
  guest = h2k_guest_open (disks, &options, &error);
  g_assert_no_error (error);
  return guest;
}

static void
assert_host (H2kGuest *guest, const char *name)
{
  g_autoptr (GBytes) data = h2k_tree_read (guest->tree, "/etc/hostname", 0, NULL);

  g_assert_nonnull (data);
  g_assert_cmpmem (g_bytes_get_data (data, NULL), g_bytes_get_size (data), name, strlen (name));
}

static void
test_case (gconstpointer data)
{
  const Case *c = data;
  g_autoptr (GPtrArray) disks = sample_load (c->sample);
  g_autoptr (GBytes) text = g_bytes_new_static ("changed\n", 8);

  for (guint pass = 0; pass < 2; pass++)
    {
      g_autoptr (H2kGuest) guest = open_guest (disks);
      gboolean stable = FALSE;

      g_assert_cmpstr (guest->pretty_name, ==, "Debian 12 on volumes");
      g_assert_cmpstr (guest->root->spec, ==, c->spec);
      g_assert_true (h2k_guest_find_volume (guest, c->root, &stable) == guest->root);
      g_assert_true (stable);
      g_assert_true (h2k_guest_find_volume (guest, c->other, &stable) == guest->root);
      g_assert_true (stable);
      assert_host (guest, pass == 0 ? "volumes\n" : "changed\n");
      g_assert_true (h2k_tree_write (guest->tree, "/etc/hostname", text, 0644, NULL));
      g_assert_true (h2k_tree_flush (guest->tree, NULL));
      sample_claim_clean (guest->root->volume->disk);
    }
}

static gboolean
mentions (GPtrArray *texts, const char *part)
{
  for (guint i = 0; i < texts->len; i++)
    if (strstr (texts->pdata[i], part))
      return TRUE;
  return FALSE;
}

/* Another logical volume is mounted where fstab says, a missing one is a warning; both outputs of
 * inspect name them. */
static void
test_mounts (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (H2kGuest) guest = open_guest (disks);
  const H2kGuestVolume *data = h2k_guest_find_volume (guest, "/dev/vg-0/data", NULL);
  g_autofree char *json = h2k_guest_to_json (guest), *text = h2k_guest_to_text (guest);

  g_assert_nonnull (data);
  g_assert_cmpstr (data->mountpoint, ==, "/data");
  g_assert_true (h2k_tree_is_file (guest->tree, "/data/numbers"));
  g_assert_true (mentions (guest->warnings, "mounts /gone from /dev/mapper/vg--0-gone"));
  g_assert_nonnull (strstr (json, "\"/dev/mapper/vg--0-root\""));
  g_assert_nonnull (strstr (json, "\"lies_on\""));
  g_assert_nonnull (strstr (text, "/dev/vg-0/root"));
  g_assert_nonnull (strstr (text, "disk 1, partition 1; disk 2"));
}

/* A name that counts partitions means those of disks, not a logical volume. */
static void
test_whole_disk (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-striped");
  g_autoptr (H2kGuest) guest = open_guest (disks);
  const H2kGuestVolume *disk = h2k_guest_find_volume (guest, "/dev/sda", NULL);

  g_assert_nonnull (disk);
  g_assert_cmpstr (disk->id.type, ==, "LVM2_member");
}

/* Without a key the message says which container is locked and what to give. */
static void
test_locked (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks2-on-lvm");
  g_autoptr (GError) error = NULL;

  g_assert_null (h2k_guest_open (disks, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "logical volume vg/secret is a LUKS2 container"));
  g_assert_nonnull (strstr (error->message, "--key UUID=aaaaaaaa-0000-4000-8000-000000000002:"));
}

/* With a disk missing the message says which. */
static void
test_missing (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-striped");
  g_autoptr (GError) error = NULL;

  g_ptr_array_remove_index (disks, 1);
  g_assert_null (h2k_guest_open (disks, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "vg/root needs the physical volume "));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strdup_printf ("/guest-volumes/%s", cases[i].sample);
      g_test_add_data_func (name, &cases[i], test_case);
    }
  g_test_add_func ("/guest-volumes/mounts", test_mounts);
  g_test_add_func ("/guest-volumes/whole-disk", test_whole_disk);
  g_test_add_func ("/guest-volumes/locked", test_locked);
  g_test_add_func ("/guest-volumes/missing", test_missing);
  return g_test_run ();
}
