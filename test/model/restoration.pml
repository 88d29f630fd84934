/* A cut undone while another case cuts; deletion against restoration; soak.
   Code: functions/revoke/restore-exclusive.ts, store/restorations.ts (takeBack, intendRestore, giveBack, leaveCut),
   revoke/tidy.ts, store/watch.ts (markDeletion, resurrect), domain/restoring.ts (judge), domain/settle.ts (unsettledUntil).

   Case 0 has cut a lease; it is ended and in its soak time. A restoration takes it (ended to restoring, a new generation),
   looks at the fences again, notes the call as an intent (revived, unsettledUntil), calls, and gives it back (live, case 0
   is pardoned). Meanwhile case 1 fences and scans (a later case: it is never undone with the first), the soak time ends and
   case 0's chunk deletes what is left (mark, then call), case 0's watch looks whether all is still dead, and the messages
   of all come twice (a worker that was killed, or a second one). A restoration's call may land late: after its worker died,
   but not after `unsettledUntil`, for the provider's time-out is shorter.
     CR=n       so many crashes (default 1)
     WATCH      case 0's watch looks, and may find it alive
   Deviations:
     NOLOOK     the fences are not read again when the lease is taken
     NOINTENT   the call of a restoration sets no `unsettledUntil`: a cut is final though the call may still land
     STALE      that intent does not count the generation on: a case that read the lease before it takes it without knowing of it
     BLINDGIVE  the lease is given back without a condition on its generation
     BLINDMARK  the deletion is marked without a condition on the lease as read
     NOMARK     the deletion calls without a mark
     LEAVES     what may have been revived is called ended again where a case stands against it
   Runs:
     holds
     holds -DWATCH
     holds -DCR=2
     breaks -DNOLOOK
     breaks -DNOINTENT
     breaks -DSTALE
     breaks -DBLINDGIVE
     breaks -DBLINDMARK
     breaks -DNOMARK
     breaks -DLEAVES
*/
#ifndef CR
#define CR 1
#endif
#define LIVE 1
#define CUTTING 2
#define ENDED 3
#define RESTORING 4
#define RESURRECTED 5
byte crashes = CR;
byte st = ENDED; byte gen; bit revived; bit unsettled; /* a call that revives may still land */
bit deletion; bit deleted; bit pardoned; bit fence1; bit outcome1; bit amended; byte inflight; bit landed; byte losses = 1; bit refused;
/* the truth at the issuer */
bit alive; bit exists = 1;
#define CRASH if :: atomic { crashes > 0 -> crashes--; printf("   crash\n") } goto dead :: true fi

/* what was sent to the issuer may be carried out later, though whoever sent it is dead */
proctype Issuer() {
end:
  do
  :: atomic { inflight > 0 -> inflight--; 
      if :: exists -> alive = 1; landed = 1; printf("a call revives it\n") :: else -> landed = 1; printf("a call finds nothing\n")
         :: losses > 0 -> losses--; printf("the call is never sent\n") fi }
  od
}

proctype Restore() { byte s, g; bit f, rev, d; byte patience;
again:
  atomic { s = st; g = gen; f = fence1; rev = revived; d = deletion; CRASH }
  if
  :: s == LIVE || s == CUTTING || s == RESURRECTED || refused -> goto fin /* skipped, or somebody else's */
  :: s == ENDED && (f || d || deleted) -> refused = 1; goto fin
  :: s == ENDED && !f && !d ->
    atomic {
      if :: st == s && gen == g && !deletion ->
        st = RESTORING; printf("taken for a restoration\n");
        gen++
      :: else fi; CRASH }
    goto again
  :: s == RESTORING -> skip
  fi;
#ifndef NOLOOK
  if
  :: f ->
    if
    :: rev ->
#ifdef LEAVES
      atomic { if :: st == RESTORING && gen == g -> st = ENDED; revived = 0; unsettled = 0; printf("left cut\n") :: else fi; CRASH }
      refused = 1; goto fin
#else
      /* it may live: case 1 finds it taken, and takes it from here */
      (st != RESTORING); goto again
#endif
    :: else -> atomic { if :: st == RESTORING && gen == g && !revived -> st = ENDED; printf("left cut\n") :: else fi; CRASH } refused = 1; goto fin
    fi
  :: else fi;
#endif
  atomic {
    if :: st == RESTORING && gen == g -> revived = 1;
#ifndef NOINTENT
      unsettled = 1;
#endif
      /* from here until `unsettledUntil` the call may be on its way, whatever becomes of its sender */
      inflight++; landed = 0;
#ifndef STALE
      gen++; g++;
#endif
      printf("intent of the call\n")
    :: else -> goto again fi; CRASH }
  inflight == 0;
  if :: landed -> skip :: else -> goto again fi;
  atomic {
#ifdef BLINDGIVE
    if :: true ->
#else
    if :: st == RESTORING && gen == g ->
#endif
      st = LIVE; gen = g; revived = 0; unsettled = 0; pardoned = 1; printf("given back\n")
    :: else fi; CRASH }
  goto fin;
dead: atomic { s = 0; g = 0; f = 0; rev = 0; d = 0; goto again }
fin: s = 0; g = 0; f = 0; rev = 0; d = 0
}

/* case 1, after the restoration was asked for: fence, scan, cut */
proctype Case1() { byte s, g; bit uns;
again:
  atomic { if :: !fence1 -> goto fin /* no such case comes */ :: true fi; fence1 = 1; CRASH }
look:
  atomic { s = st; g = gen; uns = unsettled; CRASH }
  if
  :: s == ENDED -> goto fin /* it was over before; not this case's */
  :: s == CUTTING -> skip /* its own */
  :: else -> atomic { if :: st == s && gen == g -> st = CUTTING; gen++; printf("case 1 takes it\n") :: else -> goto look fi; g++; CRASH }
  fi;
  atomic { alive = 0; printf("case 1 cuts\n"); CRASH }
  /* nothing is final while a call may still bring it to life; then it is cut again */
  if :: uns -> (inflight == 0); atomic { unsettled = 0; goto look } :: else fi;
  atomic { if :: st == CUTTING && gen == g -> st = ENDED; revived = 0; outcome1 = 1; assert(!alive); printf("case 1: revoked\n") :: else -> goto look fi; CRASH }
  goto fin;
dead: goto again;
fin: s = 0; g = 0; uns = 0
}

/* case 0 deletes what is left, when the soak time is over */
proctype Tidy() { byte s, g; bit d;
again:
  atomic { s = st; g = gen; d = deletion; CRASH }
  if :: deleted || s != ENDED -> goto fin :: else fi;
#ifndef NOMARK
  if :: !d ->
    atomic {
#ifdef BLINDMARK
      deletion = 1
#else
      if :: st == s && gen == g && !deletion -> deletion = 1; printf("marked for deletion\n") :: else -> goto again fi
#endif
      ; CRASH }
  :: else fi;
#endif
  atomic { exists = 0; alive = 0; printf("deleted\n"); CRASH }
  atomic { deleted = 1; CRASH }
  goto fin;
dead: goto again;
fin: s = 0; g = 0; d = 0
}

#ifdef WATCH
/* case 0's watch: what it cut lives. It takes it only as it read it, so never what is being restored, or given back */
proctype Watch() { byte s, g;
again:
  atomic { s = st; g = gen; CRASH }
  if :: s != ENDED || deletion -> goto fin :: else fi;
  if :: alive -> skip :: else -> goto fin fi;
  atomic { if :: st == s && gen == g && !deletion -> st = RESURRECTED; amended = 1; printf("it lives: resurrected\n") :: else -> goto again fi; CRASH }
  goto fin;
dead: goto again;
fin: s = 0; g = 0
}
proctype Amend() { byte g;
again:
end: amended;
  atomic { if :: st == RESURRECTED || st == CUTTING -> st = CUTTING; gen++; g = gen :: else -> goto fin fi; CRASH }
  atomic { alive = 0; CRASH }
  if :: unsettled -> (inflight == 0); unsettled = 0; goto again :: else fi;
  atomic { if :: st == CUTTING && gen == g -> st = ENDED; revived = 0; outcome1 = fence1 :: else fi; CRASH }
  goto fin;
dead: goto again;
fin: g = 0
}
#endif

init {
  atomic { run Issuer(); run Restore(); run Case1(); run Tidy();
#ifdef WATCH
    run Watch(); run Amend();
#endif
  }
  timeout;
  printf("end: %d alive %d exists %d deletion %d fence %d outcome %d\n", st, alive, exists, deletion, fence1, outcome1);
  /* what is called live lives and was not deleted, what is called ended is dead; nothing hangs between */
  assert(st == LIVE || st == ENDED);
  assert((st == LIVE) == (alive == 1));
  assert(st != LIVE || (exists && !deletion));
  /* given back after case 1's fence: case 1 has cut it */
  assert(!fence1 || st == ENDED);
}
