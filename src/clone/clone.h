/* clone.h - immutable VMs: clones of a disk that is never written, and what they are made of.
 *
 * A clone is a folder of the store:
 *
 *   STORE/clones/NAME/clone.json          what it is of: see docs/clone.md
 *                     domain.xml          its definition; of Windows also bootstrap.xml
 *                     original            a link to the original disk; original-2 ... of more disks
 *                     layers/1/disk.qcow2 what the repair changed; disk-2.qcow2 ... of more disks
 *                     layers/2/disk.qcow2 what the VM writes
 *                     layers/2/nvram.fd   its UEFI variables
 *                     layers/2/live       of an encrypted clone: see h2k_clone_live_image()
 *                     current -> layers/2 the layer that the VM writes to
 *                     base -> layers/1    the one that a reset goes back to
 *                     lock
 *
 * A layer is a qcow2 image for each disk, which has an older layer or the original as its backing
 * file; only the current one is ever written. A snapshot is a layer that has a snapshot.json: the
 * next layer is over it. Which layer is over which is said by the images alone, and which one is
 * current by a link: whatever happens, a clone is in the state before or after an operation, since
 * each one ends by replacing that link. Layers that nothing leads to are removed by the next one.
 *
 * Names of files inside a clone are relative, so a store can be moved.
 *
 * Thread-safety: an object is used by one thread at a time; the store on disk by any number of
 * processes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "copy/copy.h"
#include "disk/image-lock.h"

#include <json-glib/json-glib.h>

/* Layers over the original from which on a clone is slow enough to be warned of. */
#define H2K_CLONE_LAYERS_WARN 3

/* --- the store -------------------------------------------------------------------------------- */

typedef struct
{
  char *dir;    /* absolute */
  char *clones; /* DIR/clones */
} H2kCloneStore;

/* Open the store DIR, which is made (with mode 0700, as root 0711, since the VMs of a system's
 * libvirt run as another user) when it is not there; NULL: $XDG_DATA_HOME/hyper2kvm, as root
 * /var/lib/hyper2kvm. Errors: H2K_ERROR_OUTPUT: it cannot be made, or others can write to it. */
H2kCloneStore *h2k_clone_store_open (const char *dir, GError **error);
void h2k_clone_store_free (H2kCloneStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCloneStore, h2k_clone_store_free)

/* char *: the names of the clones, sorted. Errors: H2K_ERROR_SOURCE. */
GPtrArray *h2k_clone_store_list (H2kCloneStore *store, GError **error);

/* Whether NAME can be a clone's or a snapshot's: 1 to 64 letters, digits, '.', '_' and '-', the
 * first one a letter or digit. Errors: H2K_ERROR_USAGE; WHAT is the word for it. */
gboolean h2k_clone_check_name (const char *what, const char *name, GError **error);

/* Remove the clone NAME, also one that is damaged. Errors: H2K_ERROR_USAGE, _SOURCE (there is none,
 * or another process changes it), _OUTPUT (a VM runs on it). */
gboolean h2k_clone_delete (H2kCloneStore *store, const char *name, GError **error);

/* Whether a clone of this NAME can be made. Errors: H2K_ERROR_USAGE, _OUTPUT_EXISTS. */
gboolean h2k_clone_check_new (H2kCloneStore *store, const char *name, GError **error);

/* --- one clone -------------------------------------------------------------------------------- */

/* A layer, as it lies on the disk. */
typedef struct
{
  guint number;      /* the name of its folder, from 1 */
  guint parent;      /* the layer below; 0: the original */
  char *snapshot;    /* the snapshot's name; NULL: it is none */
  char *description; /* of the snapshot; may be NULL */
  gint64 created;    /* seconds since 1970; of the snapshot, if it is one */
  guint64 stored;    /* bytes that its images take on the host's disk */
} H2kLayer;

typedef enum
{
  H2K_CLONE_PEEK,   /* for a list: images are not opened, so the layers' parents are not known */
  H2K_CLONE_LOOK,   /* everything is read */
  H2K_CLONE_CHANGE, /* alone; what an operation that was killed left is removed */
} H2kCloneAccess;

typedef struct
{
  H2kCloneStore *store; /* not owned */
  char *name;
  char *dir;
  H2kCloneAccess access;
  int lock_fd;       /* -1: not opened for a change */
  JsonObject *root;  /* clone.json */
  guint n_disks;     /* of which each layer has an image */
  GPtrArray *layers; /* H2kLayer *, by their numbers */
  guint current;     /* number of the layer that the VM writes to */
  guint base;        /* number of the one that a reset goes back to */
  gboolean damaged;  /* a layer or snapshot.json cannot be read: no layer is removed */
  H2kImageKey **key; /* h2k_clone_open_image()'s: to NULL, or to what was read */
} H2kClone;

/* Open the clone NAME. A clone.json that is lost or damaged is made again from what else there is.
 * Errors: H2K_ERROR_USAGE
 * (no such name is possible), H2K_ERROR_SOURCE (there is none, or it is damaged; another process
 * changes it). */
H2kClone *h2k_clone_open (H2kCloneStore *store, const char *name, H2kCloneAccess access,
                          GError **error);
void h2k_clone_free (H2kClone *clone);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kClone, h2k_clone_free)

/* The layer NUMBER, or the one of SNAPSHOT; NULL: there is none. CLONE's. */
const H2kLayer *h2k_clone_layer (const H2kClone *clone, guint number);
const H2kLayer *h2k_clone_snapshot (const H2kClone *clone, const char *snapshot);
/* The same for what a user named. Errors: H2K_ERROR_SOURCE: there is none. */
const H2kLayer *h2k_clone_find_snapshot (const H2kClone *clone, const char *snapshot,
                                         GError **error);
/* How many layers there are from NUMBER down to the original. */
guint h2k_clone_depth (const H2kClone *clone, guint number);
/* The image of DISK (0: the first) in layer NUMBER, or, for 0, the current one by the name that
 * stays the same. The caller's. */
char *h2k_clone_image (const H2kClone *clone, guint number, guint disk);
/* The file name of disk DISK (0: the first) in a layer. The caller's. */
char *h2k_clone_disk_name (guint disk);
/* TIME, seconds since 1970, as ISO 8601 in UTC. The caller's. */
char *h2k_clone_time_text (gint64 time);
/* What others do with the images that the VM writes to. */
H2kImageUse h2k_clone_use (const H2kClone *clone);

/* Write clone.json anew. Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_clone_save (H2kClone *clone, GError **error);

/* --- encrypted clones: QEMU's LUKS, all layers with one header ---------------------------------
 */

/* What clone.json says: an object "encryption" with the "format" ("luks") and the "key-file". */

/* The key file of all clones from now on, in place of the one that clone.json names; NULL: that one
 * again. Thread-safety: any. */
void h2k_clone_use_key_file (const char *path);
/* Where the key is; NULL: nobody knows. The caller's. */
char *h2k_clone_key_file (const H2kClone *clone);
gboolean h2k_clone_is_encrypted (const H2kClone *clone);
/* The UUID of the volume key's header, by which libvirt knows the secret; NULL: it is not
 * encrypted. The caller's. */
char *h2k_clone_secret_uuid (const H2kClone *clone);
/* The key, which was tried; NULL and TRUE: CLONE is not encrypted. Errors: H2K_ERROR_SOURCE (the
 * key file is missing, not private, or of another clone), those of the image. */
gboolean h2k_clone_read_key (const H2kClone *clone, H2kImageKey **key, GError **error);
/* The disk DISK as it is in layer NUMBER, with everything below it, and unlocked. Errors: those of
 * h2k_clone_read_key() and h2k_disk_open(). */
H2kDisk *h2k_clone_open_image (const H2kClone *clone, guint number, guint disk, GError **error);
/* Add the images (char *) of DISK that the current one builds on, the next one first. */
void h2k_clone_lower_images (const H2kClone *clone, guint disk, GPtrArray *images);
/* The name by which definitions of an encrypted clone call the current image. QEMU has to be told
 * the key of each layer, so that a definition names all of them: one that is older than an
 * operation would make QEMU put the present layer over the wrong ones. This name is there as long
 * as the layer is the current one, so such a definition starts nothing. The caller's. */
char *h2k_clone_live_image (const H2kClone *clone, guint disk);
/* See to it that there is that name, and that no other layer has one. */
void h2k_clone_set_live (const H2kClone *clone);

/* --- operations: each is done or not, also when it is killed; CLONE was opened for change and is
 * as the store is afterwards. Refused with H2K_ERROR_OUTPUT while a VM runs on the clone. ---------
 */

/* Keep the present state as the snapshot NAME. Errors: H2K_ERROR_USAGE (the name),
 * H2K_ERROR_OUTPUT_EXISTS (there is one of this name), _OUTPUT, _NO_SPACE. */
gboolean h2k_clone_take_snapshot (H2kClone *clone, const char *name, const char *description,
                                  GError **error);
/* Go back to SNAPSHOT (NULL: to the base), and forget what was written since. Errors:
 * H2K_ERROR_SOURCE (there is none), _OUTPUT, _NO_SPACE. */
gboolean h2k_clone_reset (H2kClone *clone, const char *snapshot, GError **error);
/* Forget SNAPSHOT. What other states need of it stays. Errors: H2K_ERROR_SOURCE, _OUTPUT. */
gboolean h2k_clone_drop_snapshot (H2kClone *clone, const char *snapshot, GError **error);
/* Make the present state the base. Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_clone_commit (H2kClone *clone, GError **error);
/* Make one layer of those between the base, the snapshots and the present state that only the next
 * one needs: COUNT (may be NULL) is how many are gone. Errors: the disks', H2K_ERROR_OUTPUT,
 * _NO_SPACE, _CANCELLED. */
gboolean h2k_clone_merge (H2kClone *clone, GCancellable *cancellable, guint *count, GError **error);

/* An original that a disk is put over. */
typedef struct
{
  JsonObject *original; /* what clone.json will say of it, with its path; "link" is added */
  const char *format;   /* as QEMU calls it */
  gboolean several;     /* it lies in several files, of which some are named as seen from its own */
  /* NULL: it has the same content, as far as the clone's disk goes. Else the old and the new one,
   * not smaller than that: where they differ, what is in the old one is kept in the layers. */
  H2kDisk *before, *after;
} H2kCloneOriginal;

/* Put disk DISK over another original. All states read the same as before, if that is as TO says.
 * Errors: the disks', H2K_ERROR_OUTPUT, _NO_SPACE, _CANCELLED. */
gboolean h2k_clone_rebase (H2kClone *clone, guint disk, const H2kCloneOriginal *to,
                           GCancellable *cancellable, GError **error);
/* What the link to the original of disk DISK leads to, or the name that stands for it in the
 * images; NULL: there is none. The caller's. */
char *h2k_clone_original_target (const H2kClone *clone, guint disk);
/* The original of disk DISK, as the layers over it find it. The caller's. Errors: as of
 * h2k_disk_open(). */
H2kDisk *h2k_clone_open_original (const H2kClone *clone, guint disk, GError **error);

/* --- making one ------------------------------------------------------------------------------- */

/* A clone that has no name yet: a folder that goes away when it is freed without a commit. */
typedef struct
{
  H2kCloneStore *store; /* not owned */
  char *name;           /* that it will have */
  char *dir;            /* where it is meanwhile */
  char *final_dir;      /* where it will be */
  int lock_fd;
  JsonObject *root; /* of clone.json, to be filled */
  guint n_disks;
  H2kImageLuks luks; /* without a header: it is not encrypted */
  gboolean committed;
} H2kCloneDraft;

/* Errors: H2K_ERROR_USAGE (the name), H2K_ERROR_OUTPUT_EXISTS, _OUTPUT, _NO_SPACE. */
H2kCloneDraft *h2k_clone_draft_new (H2kCloneStore *store, const char *name, GError **error);
/* A snapshot, taken now, of the file PATH that will stand in for the original of disk DISK, in the
 * clone's folder, where it stays: the blocks are shared, which takes a filesystem with reflinks
 * (btrfs, XFS), and the store on the same one. Its path for now is returned, the caller's. Errors:
 * H2K_ERROR_UNSUPPORTED (they cannot be shared), _SOURCE, _OUTPUT, _NO_SPACE. */
char *h2k_clone_draft_snapshot (H2kCloneDraft *draft, guint disk, const char *path, GError **error);
/* Have the images that are added from now on encrypted with KEY, from the file PATH. Errors:
 * H2K_ERROR_FAILED. */
gboolean h2k_clone_draft_encrypt (H2kCloneDraft *draft, H2kImageKey *key, const char *path,
                                  GError **error);
/* Where the images of disk DISK will be: the base layer's, and the one that definitions of an
 * encrypted clone name. The caller's. */
char *h2k_clone_draft_base_image (const H2kCloneDraft *draft, guint disk);
char *h2k_clone_draft_live_image (const H2kCloneDraft *draft, guint disk);
/* Save OVERLAY's changes as the base layer's next disk, over ORIGINAL (what QEMU opens: an absolute
 * path, of a snapshot also, or a URI) of FORMAT. An original of several files is named by its path,
 * others by a link. Errors: those of h2k_qcow2_save_overlay(). */
gboolean h2k_clone_draft_add_disk (H2kCloneDraft *draft, H2kDisk *overlay, const char *original,
                                   const char *format, GCancellable *cancellable, GError **error);
/* Note, for people and for a clone.json that is lost, that the original of DISK (0: the first),
 * which its image names by a URI, is at TARGET. Errors: H2K_ERROR_OUTPUT. */
gboolean h2k_clone_draft_link (H2kCloneDraft *draft, guint disk, const char *target,
                               GError **error);
/* Where UEFI's variables go, which the VM's layer gets a copy of. The caller's. */
char *h2k_clone_draft_nvram (const H2kCloneDraft *draft);
/* Make the layer for the VM, write clone.json, and give the clone its name. */
gboolean h2k_clone_draft_commit (H2kCloneDraft *draft, GError **error);
void h2k_clone_draft_free (H2kCloneDraft *draft);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCloneDraft, h2k_clone_draft_free)
